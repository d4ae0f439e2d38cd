"""`python -m flows.scn`: fast where nothing is run, one sentence for a mistake, and a whole run without a server."""

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.command import main
from flows.deployments import DEAD_SECONDS
from tests.flows.conftest import MakeScratch


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "flows.scn", *arguments], cwd=folder, capture_output=True, text=True)


def test_help_answers_without_loading_prefect(tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "flows.scn", "--help"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "flows" in loaded
    assert not loaded & {"prefect", "torch", "ray", "dvc"}
    assert done.returncode == 0
    assert "--experiment" in done.stdout


def test_an_unknown_experiment_is_one_sentence(make_scratch: MakeScratch) -> None:
    done = command(make_scratch(), "--experiment", "sr-x22")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("flows: params.yaml (commit ")
    assert done.stderr.endswith("): 'sr-x22' is no known experiment: did you mean 'sr-x2'.\n")


def test_a_folder_that_is_no_project_is_one_sentence(tmp_path: Path) -> None:
    done = command(tmp_path, "--experiment", "sr-x2")
    assert done.returncode == 1
    assert done.stderr.startswith(f"flows: {tmp_path} is not the top folder of a git repository")
    assert done.stderr.count("\n") == 1


def test_a_project_that_can_not_be_written_is_one_sentence(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_scratch()
    (project / ".scn").write_text("a file")
    monkeypatch.chdir(project)
    assert main(lambda: pytest.fail("the flow was loaded"), ["--experiment", "sr-x2"]) == 1
    assert capsys.readouterr().err == (
        f"flows: {project}/.scn/prefect/local can't be used (Not a directory): check the path, its permissions and the "
        "disk.\n"
    )


def test_a_server_that_does_not_answer_is_one_sentence(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:  # bound but not listening: nothing answers there, and nobody else takes the port
        probe.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{probe.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", api)
        done = command(make_scratch(), "--experiment", "sr-x2")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"flows: No Prefect server answers at {api}: start it with ")
    assert "Traceback" not in done.stderr


class Unauthorized(BaseHTTPRequestHandler):
    """A server that is there, and wants a password for all else."""

    def do_GET(self) -> None:
        """Answers one request."""
        self.send_response(200 if self.path == "/api/health" else 401)
        self.end_headers()
        self.wfile.write(b"true")

    def do_POST(self) -> None:
        """Answers one request."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_server_that_wants_a_password_is_one_sentence(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Unauthorized) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("PREFECT_API_URL", api := f"http://127.0.0.1:{server.server_port}/api")
        try:
            done = command(make_scratch(), "--experiment", "sr-x2")
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"flows: The Prefect server at {api} asks for a password: set ")
    assert "Traceback" not in done.stderr


BEATS = """\
from flows.command import main
def load_flow():
    from prefect.settings import get_current_settings
    from prefect.states import Completed
    return lambda **_: Completed(message=str(get_current_settings().flows.heartbeat_frequency))
main(load_flow, ["--experiment", "sr-x2"])
"""


def test_a_run_gives_signs_of_life_before_it_counts_as_dead(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", raising=False)
    done = subprocess.run([sys.executable, "-c", BEATS], cwd=make_scratch(), capture_output=True, text=True)
    assert 3 * int(done.stderr.removeprefix("flows: ")) < DEAD_SECONDS


@pytest.mark.integration
def test_a_run_without_a_server(make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    project = make_scratch("echo in the stage; pwd > models/${key}")
    done = command(project, "--experiment", "dn-s25")
    assert done.returncode == 0, done.stderr
    assert "Task run 'train@dn-s25' - in the stage" in done.stdout + done.stderr
    assert (project / ".scn/store/dn-s25").is_file()
    assert (project / ".scn/prefect/local/prefect.db").is_file()  # not in the home folder
