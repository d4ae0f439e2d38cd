"""What networks cost, counted and timed once."""

import pytest
import torch

from scn.core.errors import UserError
from scn.evaluation.page import costs
from scn.evaluation.page.costs import Costs, computing
from scn.evaluation.published import published
from scn.networks.profile import count_macs, profile

SMALL = {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2, "channels": 3, "scale": 2}


def test_a_network_is_counted_as_its_profile_says_and_timed() -> None:
    found = Costs().of(SMALL)
    assert found.parameters == profile(SMALL, 16, 16).params_folded
    assert found.macs == count_macs(SMALL, 128, 128)
    assert found.seconds is not None
    assert 0 < found.seconds < 60
    assert Costs(timed=False).of(SMALL).seconds is None


def test_each_network_is_timed_once_and_for_the_pixels_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    timed, sides = [], []

    def apply(function: object, images: object, device: object) -> None:
        sides.append(images.shape[1])  # type: ignore[attr-defined]

    ticks = iter(float(i) for i in range(1000))
    monkeypatch.setattr("scn.inference.apply.apply", apply)
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(ticks))
    account = Costs()
    timed = [account.of(SMALL), account.of(dict(reversed(SMALL.items()))), account.of({**SMALL, "weight_norm": True})]
    assert len(set(map(id, timed))) == 1
    assert sides == [128] * 4  # one to warm up, and three
    assert timed[0].seconds == pytest.approx(1 / (256**2 / 1e6))  # each pass took one tick


def test_nothing_is_timed_once_the_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Costs()
    assert account.of(SMALL).seconds is not None
    monkeypatch.setattr(costs, "ALL_S", 0.0)
    late = account.of({**SMALL, "units": 6})
    assert late.seconds is None
    assert late.parameters > account.of(SMALL).parameters


def test_published_networks_that_the_project_has() -> None:
    account = Costs(timed=False)
    rows = {row.method: row for row in published("sr", 4, "Set5") if row.paper == "scn-aaai2020"}
    vdsr = account.of_published(rows["VDSR"])
    assert vdsr is not None
    assert vdsr.parameters == 665_921
    assert account.of_published(rows["A+"]) is None
    with pytest.raises(UserError, match="no known network"):
        account.of({"name": "scn-of-tomorrow"})


@pytest.mark.parametrize(
    ("gpu", "threads", "named"),
    [("", 1, "CPU, 1 thread"), ("", 3, "CPU, 3 threads"), ("NVIDIA H200", 3, "NVIDIA H200")],
)
def test_what_computes_is_named(monkeypatch: pytest.MonkeyPatch, gpu: str, threads: int, named: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpu))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert computing() == named
