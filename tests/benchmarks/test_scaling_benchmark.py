"""The benchmark of several workers: its model is right where it is known, and its parts run at a tiny size."""

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks import scaling
from benchmarks.measure import Timing
from scn.networks.scn.network import SCN
from scn.training.world import World


def test_the_model_of_a_step() -> None:
    sent = scaling.all_reduce_seconds(8e6, 4, latency_s=1e-3, bytes_per_s=1e8)
    assert sent == pytest.approx(6 * 1e-3 + 1.5 * 0.08)
    small = {"size": 1e6, "workers": 2, "latency_s": 0.0, "bytes_per_s": 1e8}
    assert scaling.step_seconds(1.0, **small) == pytest.approx(1.01)  # one bucket: nothing is left to hide it
    large = small | {"size": 10 * scaling.BUCKET_BYTES}
    sending = large["size"] / 1e8
    assert scaling.step_seconds(9.0, **large) == pytest.approx(9.0 + sending / 10)  # all but the last are hidden
    assert scaling.step_seconds(0.3, **large) == pytest.approx(0.1 + sending)  # the network is the limit
    assert scaling.step_seconds(9.0, **large, overlap=0) == pytest.approx(9.0 + sending)


def test_latency_and_rate_are_found_again() -> None:
    seconds = [scaling.all_reduce_seconds(size, 4, 2e-4, 3e8) for size in scaling.SIZES]
    assert scaling.fitted(scaling.SIZES, seconds, 4) == pytest.approx((2e-4, 3e8))


def test_a_step_lasts_as_long_as_that_of_the_slowest_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(every: list[Any], own: dict[str, tuple[float, ...]]) -> None:
        every[:] = own, {"alone": (1.3, 1.1), "DDP": (1.2, 1.3)}

    monkeypatch.setattr(scaling.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(scaling.dist, "all_gather_object", gather)
    own = {"alone": Timing(seconds=(1.0, 1.2)), "DDP": Timing(seconds=(1.3, 1.2))}
    assert scaling._of_the_slowest(own) == {"alone": [1.3, 1.2], "DDP": [1.3, 1.3]}


def _same_forms(network: Any, world: World) -> tuple[dict[str, Any], int]:
    """Forms that do the same, on the second worker 0.1 s longer; only DDP waits for the others."""

    def rest() -> None:
        time.sleep(0.1 * world.rank)

    def together() -> None:
        rest()
        dist.barrier()

    return {"one": rest, "one, all": rest, "alone": rest, "buckets": rest, "DDP": together}, 4


def _rank_of_same_forms(*arguments: Any) -> None:
    scaling._forms = _same_forms
    scaling._rank(*arguments)


def test_the_form_after_one_that_does_not_wait_pays_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = partial(scaling.torch.multiprocessing.spawn, _rank_of_same_forms)
    monkeypatch.setattr(scaling.torch.multiprocessing, "spawn", lambda _, *words, **more: spawn(*words, **more))
    _, steps = scaling.measured(2, 2, {"same": {}})
    assert all(row["step_ms"] >= 100 for row in steps)  # on the first worker, which writes, `alone` takes no time


def test_every_form_is_timed(capfd: pytest.CaptureFixture[str]) -> None:
    tiny = {"tiny": {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2}}
    transfers, steps = scaling.measured(2, 1, tiny)
    assert [row["bytes"] for row in transfers] == list(scaling.SIZES)
    assert {row["form"] for row in steps} == {"alone", "buckets", "after", "lanes", "DDP"}
    assert "Warning" not in capfd.readouterr().err


def test_weak_and_strong_scaling_are_those_beside_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker takes 0.1 s for its part and 0.2 s for everything; two together take 0.25 s for a part each."""
    seconds = {"one": 0.1, "one, all": 0.2, "alone": 0.1, "buckets": 0.25, "DDP": 0.1}
    steps = {name: [each, each] for name, each in seconds.items()}

    def measure(rank: object, words: tuple[Any, ...], nprocs: int) -> None:
        found = {"sent": dict.fromkeys(scaling.SIZES, 0.1), "steps": {"same": (4, steps)}}
        torch.save(found, Path(words[2]) / "found.pt")

    monkeypatch.setattr(scaling.torch.multiprocessing, "spawn", measure)
    _, rows = scaling.measured(2, 2, {"same": {}})
    row = next(row for row in rows if row["form"] == "buckets")
    assert row["weak_%"] == pytest.approx(40)
    assert row["strong_%"] == pytest.approx(40)


def test_every_number_of_lanes_is_timed_and_computes_the_same_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2}
    monkeypatch.setattr(scaling, "NETWORKS", {"tiny": tiny})
    monkeypatch.setattr(scaling, "LANES", (1, 4))
    seen = Counter[int]()

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, SCN):
            seen[len(inputs[0])] += 1

    with register_module_forward_pre_hook(count):
        rows = scaling.lanes_in_one(1, "tiny")
    assert [row["lanes"] for row in rows] == ["0", "1", "4"]
    assert seen == {4: 3 + 3, 1: 3 * 4}  # three steps each, the first two to warm up
