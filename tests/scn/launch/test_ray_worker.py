"""What a worker does at the end of a run, without Ray."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scn.launch.ray_worker import work


@pytest.mark.parametrize(
    ("rank", "local_rank", "done"),
    [(0, 0, ["hand over", "remove ended"]), (1, 0, ["remove ended"]), (2, 1, [])],
)
def test_one_worker_of_each_machine_removes_what_other_runs_have_left_there(
    monkeypatch: pytest.MonkeyPatch, rank: int, local_rank: int, done: list[str]
) -> None:
    import ray
    import ray.train.torch

    did: list[str] = []

    def run(config: dict[str, Any]) -> Any:
        checkpoints = {name: (lambda name=name: did.append(name.replace("_", " "))) for name in names}
        return SimpleNamespace(checkpoints=SimpleNamespace(**checkpoints))

    names = ("hand_over", "remove_ended")
    method = SimpleNamespace(remote=lambda *given: None)
    mailbox = SimpleNamespace(**dict.fromkeys(("tell", "beat", "leave", "asked_to_stop"), method))
    ranks = {"get_world_rank": rank, "get_world_size": 3, "get_local_rank": local_rank}
    context = SimpleNamespace(**{name: (lambda value=value: value) for name, value in ranks.items()})
    monkeypatch.setattr(ray, "get", lambda reference: None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "a node"))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("scn.launch.ray_worker._run", run)
    monkeypatch.setattr("scn.launch.ray_worker.train", lambda *given: None)
    work({"mailbox": mailbox, "threads": 1})
    assert did == done
