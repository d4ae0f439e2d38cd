"""What memory a device has left, and which errors say that there was too little."""

from collections.abc import Callable

import pytest
import torch

from scn.inference.memory import free_memory, ran_out


def test_what_pytorch_keeps_of_a_gpu_for_itself_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)

    def of_the_gpu(value: object) -> Callable[[torch.device], object]:
        return lambda device: value if device == gpu else None

    monkeypatch.setattr(torch.cuda, "mem_get_info", of_the_gpu((1000, 9000)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", of_the_gpu(500))
    monkeypatch.setattr(torch.cuda, "memory_allocated", of_the_gpu(200))
    assert free_memory(gpu) == 1300


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
    ids=repr,
)
def test_errors_for_want_of_memory(error: Exception, so: bool) -> None:
    assert ran_out(error) is so
