"""Starting Ray: the errors for a cluster that is not there, or lacks room."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.ray import _private_folder, logs_of_ray, patiently, start_ray, stop_ray, wait_for_room
from scn.launch.stage import train_stage

# Ray leaves files and sockets of its own processes to the garbage collector.
quiet = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="class")
def one_cpu() -> Iterator[None]:
    """A cluster of one CPU that this package did not start."""
    import ray

    stop_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patiently(lambda: ray.init(address="local", num_cpus=1, include_dashboard=False))
        yield
        ray.shutdown()


def test_a_cluster_that_does_not_answer_is_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_ray()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=rf"The Ray cluster at RAY_ADDRESS={address} can't be reached \(.*\): "):
            start_ray()


def test_a_cluster_whose_free_cpus_lie_apart_is_told_and_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    class Apart:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> "Apart":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def is_there(self, _: float) -> bool:
            return False

    monkeypatch.setattr("scn.core.ray.Room", Apart)
    monkeypatch.setattr("scn.core.ray.MOMENT", 0)
    monkeypatch.setattr("scn.core.ray._missing", lambda *_, free: "")  # the sums suffice

    def stop(missing: str) -> None:
        raise UserError(missing)

    with pytest.raises(UserError, match=r"^4 CPUs for 2 workers, and no node has one free$"):
        wait_for_room({"CPU": 2}, 2, 300, stop)


@quiet
@pytest.mark.integration
class TestClusterOfAnother:
    def test_stop_leaves_alone_what_another_started(self, one_cpu: None) -> None:
        import ray

        start_ray()
        stop_ray()
        assert ray.is_initialized()

    def test_what_a_cluster_lacks_is_said(self, one_cpu: None) -> None:
        import ray

        waited: list[str] = []
        assert wait_for_room({"CPU": 1}, 1, 120, waited.append) == ""
        waited.clear()
        assert wait_for_room({"CPU": 1}, 2, 1.5, waited.append) == "2 CPUs for 2 workers, the cluster has 1"
        assert set(waited) == {"2 CPUs for 2 workers, the cluster has 1"}
        assert wait_for_room({"GPU": 1}, 1, 0, waited.append) == "1 GPU for 1 worker, the cluster has 0"

        @ray.remote(num_cpus=1)
        class Tenant:
            def is_here(self) -> bool:
                return True

        tenant = Tenant.remote()
        assert ray.get(tenant.is_here.remote())
        assert wait_for_room({"CPU": 1}, 1, 0, waited.append) == "1 CPU for 1 worker, the cluster has 0 free"
        ray.kill(tenant)
        assert wait_for_room({"CPU": 1}, 1, 120, waited.append) == ""

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_what_a_training_lacks_is_one_sentence(
        self, one_cpu: None, project: Callable[..., Params], capsys: pytest.CaptureFixture[str]
    ) -> None:
        params = project("sr-x2", workers=2, cluster_timeout_s=2)
        with pytest.raises(
            UserError,
            match=r"^sr-x2 needs 2 CPUs for 2 workers, the cluster has 1 even after 2 s: lower run\.workers",
        ):
            train_stage(params, "sr-x2")
        assert "sr-x2: waits 2 s at most for 2 CPUs for 2 workers, the cluster has 1" in capsys.readouterr().out


@quiet
@pytest.mark.integration
def test_a_cluster_of_our_own_does_not_grow_and_leaves_signals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    stop_ray()
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        start_ray(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        waited: list[str] = []
        assert wait_for_room({"CPU": 1}, 3, 3600, waited.append) == "3 CPUs for 3 workers, the cluster has 1"
        assert waited == []
    finally:
        stop_ray()
        signal.signal(signal.SIGTERM, before)


@quiet
@pytest.mark.integration
def test_another_user_can_not_reach_the_sockets_of_a_cluster_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray makes its folders writable for everybody."""
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    stop_ray()
    try:
        start_ray(1)
        session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[attr-defined]
        another = session.with_name(f"another-{os.getpid()}")
        another.symlink_to(tmp_path)
        another.replace(session.with_name("session_latest"))  # as a cluster that another process starts does
    finally:
        stop_ray()
    assert any(stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0 for folder in session.parents)
    assert logs_of_ray() == f"{session}/logs"
    assert not session.is_relative_to("/tmp/ray")


def test_a_private_folder_that_is_not_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    try:
        expected = short / f"ray-{os.getuid()}"
        assert _private_folder() == expected / "r"
        assert stat.S_IMODE(expected.stat().st_mode) == 0o700
        expected.chmod(0o777)
        other = _private_folder().parent
        assert other.parent == short
        assert other != expected
        expected.rename(short / "moved")
        (short / "moved").chmod(0o700)
        expected.symlink_to(short / "moved")
        assert _private_folder().parent != expected
    finally:
        shutil.rmtree(short)
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'long' * 10}")
    assert _private_folder().is_relative_to("/tmp")


class Busy:
    """Stands for ray.init on a machine where the first starts take too long, and leave their processes behind."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left: list[subprocess.Popen[bytes]] = []
        self.failures, self.error = failures, error

    def __call__(self, **_: object) -> SimpleNamespace:
        if len(self.left) < self.failures:
            self.left.append(subprocess.Popen(["raylet", "600"], executable=shutil.which("sleep")))
            raise self.error
        return SimpleNamespace(address_info={"session_dir": "/session"})

    def ended(self) -> bool:
        return all(process.wait(timeout=120) for process in self.left)


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup. This could happen because ..."),
        RuntimeError("Failed to start GCS.  Last 0 lines of error files: ..."),
        RuntimeError("Timed out waiting for file /tmp/ray/session_1/gcs_server_port_2"),
    ],
)
def test_a_machine_too_busy_for_ray_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("ray.init", busy := Busy(2, error))
    monkeypatch.setattr("scn.core.ray._logs", logs_of_ray())  # what is there now comes back
    start_ray(1)
    stop_ray()
    assert logs_of_ray() == "/session/logs"
    assert len(busy.left) == 2
    assert busy.ended()
    monkeypatch.setattr("ray.init", busy := Busy(9, error))
    with pytest.raises(
        UserError, match=r"^Ray's processes were not ready on this machine in 3 .*: try again when it has"
    ):
        start_ray(1)
    assert len(busy.left) == 3
    assert busy.ended()


def test_another_failure_of_ray_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", busy := Busy(9, RuntimeError("Version mismatch")))
    with pytest.raises(RuntimeError, match="Version mismatch"):
        start_ray(1)
    busy.left[0].kill()
    assert len(busy.left) == 1
    assert busy.ended()
