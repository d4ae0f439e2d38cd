"""How the step of a GPU is recorded; what its replay computes is tested where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from scn.data import Batch
from scn.training.gradients import _Graph


def test_it_is_recorded_on_the_gpu_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another GPU's stream would record nothing of the step, and its replay would leave the gradients as they were."""
    current, seen = ["another"], list[tuple[Any, ...]]()

    @contextmanager
    def device(of: torch.device) -> Iterator[None]:
        current.append(str(of))
        yield
        current.pop()

    @contextmanager
    def graph(recording: object, *, stream: str, capture_error_mode: str) -> Iterator[None]:
        seen.append(("begin", current[-1], stream))
        yield
        seen.append(("end", current[-1]))

    def compute(batch: Batch) -> Tensor:
        seen.append(("compute", current[-1]))
        return batch.input.sum()

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: f"a stream of {current[-1]}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append(("synchronize", current[-1])))
    _Graph(compute, Batch(input=torch.ones(1, device="meta"), target=torch.ones(1, device="meta")))
    assert seen == [
        ("synchronize", "meta"),
        ("begin", "meta", "a stream of meta"),
        ("compute", "meta"),
        ("end", "meta"),
    ]
    assert current == ["another"]
