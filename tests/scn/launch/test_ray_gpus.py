"""GPUs of a cluster: `run.use_gpu: auto` trains on them, or ends with a sentence where they are too few."""

from types import SimpleNamespace
from typing import Any

import pytest
from named_pictures import experiment

from scn.core.errors import UserError
from scn.launch import ray_train
from scn.training.callbacks import Silent


class Room:
    """There is room for workers without GPUs only."""

    def __init__(self, bundle: dict[str, float], count: int) -> None:
        self.bundle = bundle

    def is_there(self, seconds: float = 0) -> bool:
        return "GPU" not in self.bundle

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("use_gpu", ["auto", True, False])
def test_some_gpus_but_too_few_are_an_error_and_no_run_on_cpus_in_silence(
    monkeypatch: pytest.MonkeyPatch, use_gpu: Any
) -> None:
    has = {"CPU": 8.0, "GPU": 1.0}
    monkeypatch.setattr("ray.cluster_resources", lambda: has)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": has}])
    monkeypatch.setattr("scn.core.ray.Room", Room)

    class OnCpusError(Exception):
        pass

    def group(run: Any, count: int, bundle: dict[str, float], *others: Any) -> None:
        assert bundle.keys() == {"CPU"}
        raise OnCpusError

    monkeypatch.setattr(ray_train, "Group", group)
    run: Any = SimpleNamespace(experiment=experiment(use_gpu=use_gpu, workers=2, cluster_timeout_s=0))
    if use_gpu is False:
        with pytest.raises(OnCpusError):
            ray_train._drive(run, ("", None), Silent(), lambda: "", None)
        return
    sentence = "sr-2 needs 2 GPUs for 2 workers, the cluster has 1: lower run.workers or add nodes, or set run.use_gpu"
    with pytest.raises(UserError, match=sentence):
        ray_train._drive(run, ("", None), Silent(), lambda: "", None)
