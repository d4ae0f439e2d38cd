"""deploy/worker.sh: the project's clone, whenever its container is killed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/worker.sh"
KILLED = """\
#!/bin/sh
# git, of which a clone begins and is killed, with the script, before anything has come
case "$*" in
  clone*) for last; do :; done; {git} init --quiet "$last"; kill -KILL $PPID ;;
  *) exec {git} "$@" ;;
esac
"""
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
    (tmp_path / "join.sh").write_text(REACHED)
    _commit(tmp_path / "repository", "first")
    return tmp_path


def _commit(repository: Path, content: str) -> None:
    repository.mkdir(exist_ok=True)
    (repository / "file").write_text(content)
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q", "-b", "main"], ["add", "file"], [*who, "commit", "-q", "-m", content]):
        subprocess.run(["git", *words], cwd=repository, check=True)


def _start(worker: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": path, "SCN_REPOSITORY": str(worker / "repository"), "SCN_PROJECT": str(worker / "volume/scn")}
    settings |= {"PREFECT_API_URL": "http://127.0.0.1:9/api", "RAY_ADDRESS": "127.0.0.1:9"}
    return subprocess.run(["sh", worker / "worker.sh"], env=settings, capture_output=True, text=True, check=False)


def test_a_worker_that_is_killed_in_its_first_clone_starts_again(worker: Path) -> None:
    assert _start(worker, f"{worker}/bin:{os.environ['PATH']}").returncode == -9
    for content in ("first", "second"):
        started = _start(worker)
        assert (started.returncode, started.stdout, started.stderr) == (0, "joins\n", "")
        assert (worker / "volume/scn/file").read_text() == content
        assert sorted(path.name for path in (worker / "volume/scn").iterdir()) == [".git", "file"]
        _commit(worker / "repository", "second" if content == "first" else "third")
