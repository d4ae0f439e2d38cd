"""What memory a device has left."""

from collections.abc import Callable

import pytest
import torch

from scn.inference.memory import free_memory


def test_what_pytorch_keeps_of_a_gpu_for_itself_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)

    def of_the_gpu(value: object) -> Callable[[torch.device], object]:
        return lambda device: value if device == gpu else None

    monkeypatch.setattr(torch.cuda, "mem_get_info", of_the_gpu((1000, 9000)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", of_the_gpu(500))
    monkeypatch.setattr(torch.cuda, "memory_allocated", of_the_gpu(200))
    assert free_memory(gpu) == 1300
