"""deploy/worker.sh: the project's clone, whenever its container is killed."""

import base64
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from flows.workspace import find_commit

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/worker.sh"
KILLED = """\
#!/bin/sh
# git, of which a clone begins and is killed, with the script, before anything has come
case "$*" in
  clone*) for last; do :; done; {git} init --quiet "$last"; kill -KILL $PPID ;;
  *) exec {git} "$@" ;;
esac
"""
TOKEN = "t@ken-of-%-git"
REACHED = "echo joins; exit 0\n"
"""What stands for join.sh: the script's first words after the clone."""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """A folder with the script, a repository of one file and, in bin/, a git whose clones are killed."""
    git = shutil.which("git")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(KILLED.format(git=git))
    (tmp_path / "bin/git").chmod(0o755)
    shutil.copy(SCRIPT, tmp_path)
    shutil.copy(SCRIPT.with_name("credential.py"), tmp_path)
    (tmp_path / "join.sh").write_text(REACHED)
    _commit(tmp_path / "repository", "first")
    return tmp_path


def _commit(repository: Path, content: str) -> None:
    repository.mkdir(exist_ok=True)
    (repository / "file").write_text(content)
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q", "-b", "main"], ["add", "file"], [*who, "commit", "-q", "-m", content]):
        subprocess.run(["git", *words], cwd=repository, check=True)


def _start(worker: Path, path: str = os.environ["PATH"], **others: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": path, "SCN_REPOSITORY": str(worker / "repository"), "SCN_PROJECT": str(worker / "volume/scn")}
    settings |= {"PREFECT_API_URL": "http://127.0.0.1:9/api", "RAY_ADDRESS": "127.0.0.1:9"} | others
    return subprocess.run(["sh", worker / "worker.sh"], env=settings, capture_output=True, text=True, check=False)


def test_a_worker_that_is_killed_in_its_first_clone_starts_again(worker: Path) -> None:
    assert _start(worker, f"{worker}/bin:{os.environ['PATH']}").returncode == -9
    for content in ("first", "second"):
        started = _start(worker)
        assert (started.returncode, started.stdout, started.stderr) == (0, "joins\n", "")
        assert (worker / "volume/scn/file").read_text() == content
        assert sorted(path.name for path in (worker / "volume/scn").iterdir()) == [".git", "file"]
        _commit(worker / "repository", "second" if content == "first" else "third")


def test_a_ref_names_a_branch_as_the_repository_has_it_now(worker: Path) -> None:
    repository, clone = worker / "repository", worker / "volume/scn"
    assert _start(worker).returncode == 0
    first = find_commit(clone, "main")
    for name in ("runs/sr-x2", "by-hand"):  # not pushed yet
        subprocess.run(["git", "update-ref", f"refs/heads/{name}", first], cwd=clone, check=True)
    _commit(repository, "second")
    subprocess.run(["git", "branch", "feature"], cwd=repository, check=True)
    assert _start(worker).returncode == 0
    assert find_commit(clone, "main") == find_commit(clone, "feature") == find_commit(repository, None) != first
    assert find_commit(clone, "runs/sr-x2") == find_commit(clone, "by-hand") == first


def test_a_branch_that_follows_one_of_the_repository_stays_while_it_has_commits_of_its_own(worker: Path) -> None:
    clone = worker / "volume/scn"
    assert _start(worker).returncode == 0
    for name in ("mine", "merged"):
        subprocess.run(["git", "checkout", "-q", "-b", name, "origin/main"], cwd=clone, check=True)
        assert find_commit(clone, f"{name}@{{upstream}}")
    subprocess.run(["git", "checkout", "-q", "mine"], cwd=clone, check=True)
    (clone / "file").write_text("mended here")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *who, "commit", "-q", "-a", "-m", "mended here"], cwd=clone, check=True)
    made = find_commit(clone, None)
    started = _start(worker)
    assert (started.returncode, started.stdout) == (0, "joins\n")
    assert started.stderr == "the branch mine stays, as the repository lacks commits of it: push it, or delete it\n"
    assert find_commit(clone, "mine") == made
    heads = ["git", "for-each-ref", "--format=%(refname:short)", "refs/heads"]
    assert subprocess.run(heads, cwd=clone, capture_output=True, text=True, check=True).stdout == "mine\n"
    _commit(worker / "repository", "second")
    assert find_commit(clone, "main") != made


class Asking(SimpleHTTPRequestHandler):
    """Gives files to who has a name and a password."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answers one request."""
        told = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        self.asked.append(told)
        if told == f"me:{TOKEN}":
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def asking(worker: Path) -> Iterator[str]:
    """Host and port of a server with the repository as `repository/.git`, which asks for TOKEN."""
    subprocess.run(["git", "update-server-info"], cwd=worker / "repository", check=True)
    Asking.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Asking, directory=str(worker))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("written", ["me:t%40ken-of-%25-git", "me:t@ken-of-%25-git"])
def test_the_token_of_the_repository_is_in_no_command_and_no_file(worker: Path, asking: str, written: str) -> None:
    """git's own words to its helpers are those of GIT_TRACE."""
    settings = {"SCN_REPOSITORY": f"http://{written}@{asking}/repository/.git", "GIT_TRACE": str(worker / "trace")}
    for _ in range(2):
        started = _start(worker, **settings)
        assert (started.returncode, started.stdout, started.stderr) == (0, "joins\n", "")
        assert (worker / "volume/scn/file").read_text() == "first"
        own = ["git", "-C", str(worker / "volume/scn"), "ls-remote", "origin"]  # as by `exec`
        environment = {"PATH": os.environ["PATH"], "GIT_TERMINAL_PROMPT": "0"} | settings
        subprocess.run(own, env=environment, capture_output=True, check=True)
        config = worker / "volume/scn/.git/config"
        assert f"url = http://{asking}/repository/.git\n" in config.read_text()
        trace = (worker / "trace").read_text()
        assert "remote-http" in trace
        assert not any("ken-of" in text for text in (config.read_text(), trace))
        subprocess.run(
            ["git", "remote", "set-url", "origin", settings["SCN_REPOSITORY"]], cwd=config.parent, check=True
        )
    assert f"me:{TOKEN}" in Asking.asked


def test_a_path_with_an_at_sign_has_no_token(worker: Path, asking: str) -> None:
    """It is not cut off."""
    started = _start(worker, SCN_REPOSITORY=f"http://{asking}/a@b/.git", GIT_TERMINAL_PROMPT="0")
    assert started.returncode
    assert f"'http://{asking}'" in started.stderr, started.stderr
    assert set(Asking.asked) == {""}


def test_the_token_is_told_to_no_other_host() -> None:
    helper = SCRIPT.with_name("credential.py")

    def answer(host: str, repository: str) -> str:
        command = [sys.executable, str(helper), "get"]
        asked = f"protocol=https\nhost={host}\n"
        return subprocess.run(
            command, input=asked, env={"SCN_REPOSITORY": repository}, capture_output=True, text=True, check=True
        ).stdout

    assert answer("a.org:8443", "https://me:word@a.org:8443/b.git") == "username=me\npassword=word\n"
    assert answer("a.org", "https://word@a.org/b.git") == "username=word\npassword=\n"
    assert answer("b.org", "https://me:word@a.org/b.git") == ""
    assert answer("a.org", "http://me:word@a.org/b.git") == ""
    assert answer("a.org", "https://a.org/b.git") == ""
    assert answer("a.org", "/a/path") == ""
