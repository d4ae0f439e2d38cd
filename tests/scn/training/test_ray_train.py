"""The same loop under Ray Train: the same weights, also on two workers and after one of them was killed."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

import psutil
import pytest
import yaml
from safetensors.numpy import load

from scn.config import Params, load_params
from scn.errors import UserError
from scn.storage import open_store
from scn.training.stage import train_stage

Project = Callable[..., Params]
pytestmark = [
    pytest.mark.integration,
    # Ray leaves files and sockets of its own processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def weights(params: Params, name: str) -> bytes:
    return (params.root / "models" / name / "model.safetensors").read_bytes()


def with_workers(params: Params, workers: int) -> Params:
    document = yaml.safe_load(params.path.read_text())
    document["train"]["workers"] = workers
    params.path.write_text(yaml.safe_dump(document))
    return load_params(params.path)


def test_one_worker_is_the_plain_loop_bit_for_bit(project: Project) -> None:
    params = project("sr-x2")
    train_stage(params, "sr-x2", plain=True)
    expected = weights(params, "sr-x2")
    train_stage(params, "sr-x2")
    assert weights(params, "sr-x2") == expected


def test_two_workers_of_which_one_is_killed_end_with_the_weights_of_one(project: Project) -> None:
    params = project("sr-x2", epochs=80)
    train_stage(params, "sr-x2", plain=True)
    expected = load(weights(params, "sr-x2"))
    store = open_store(params.storage.url, params.root)
    killed: list[int] = []

    def kill_a_worker() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            time.sleep(0.05)
            for child in psutil.Process().children(recursive=True) if store.list("runs/") else []:
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    if not killed and "RayTrainWorker" in " ".join(child.cmdline()):
                        os.kill(child.pid, signal.SIGKILL)
                        killed.append(child.pid)

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    train_stage(with_workers(params, 2), "sr-x2")
    thread.join()
    assert killed
    result = load(weights(params, "sr-x2"))
    for name, tensor in expected.items():
        assert abs(result[name] - tensor).max() < 2e-3, name


def test_what_a_worker_can_not_do_is_one_sentence(project: Project) -> None:
    params = project("sr-x2", learning_rate=1e30)
    with pytest.raises(UserError, match=r"loss of sr-x2 is (nan|inf) in step \d+"):
        train_stage(params, "sr-x2")


def test_a_store_that_fails_for_good_is_one_sentence(project: Project) -> None:
    params = project("sr-x2")
    (params.root / "store/runs").write_text("a file where the checkpoints' folder belongs")
    with pytest.raises(UserError, match="store") as error:
        train_stage(params, "sr-x2")
    assert "\n" not in str(error.value)
    assert not (params.root / "models").exists()
