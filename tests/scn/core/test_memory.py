"""How much memory is free, what is refused for lack of it, and which errors say that there was too little."""

import gc
import weakref

import psutil
import pytest
import torch

from scn.core.errors import UserError
from scn.core.memory import NoRoom, free, ran_out, require, room_for


def test_no_more_is_free_than_the_machine_has() -> None:
    assert 2**20 < free() <= psutil.virtual_memory().total


def test_what_memory_can_not_hold_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.core.memory.free", lambda: 3 * 2**30)
    require(3 * 2**30, "It")
    with pytest.raises(UserError) as caught:
        require(6 * 2**30, "It has 500 megapixels")
    assert str(caught.value) == (
        "It has 500 megapixels, for which 6.0 GiB of memory are needed and 3.0 are free: end other programs, or cut "
        "the image into parts."
    )


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("backend='inductor' raised: OutOfMemoryError: CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
    ids=repr,
)
def test_errors_for_want_of_memory(error: Exception, so: bool) -> None:
    assert ran_out(error) is so


def test_what_ends_the_recording_of_a_cuda_graph_hides_no_lack_of_memory() -> None:
    def recorded(why: Exception) -> None:
        try:
            raise why
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    with pytest.raises(RuntimeError) as caught:
        recorded(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert ran_out(caught.value)
    with pytest.raises(RuntimeError) as caught:
        recorded(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not ran_out(caught.value)


def test_a_lack_of_memory_is_a_sentence_that_holds_none() -> None:
    class Large:
        pass

    large = list[weakref.ref[Large]]()

    def computed() -> None:
        images = Large()
        large.append(weakref.ref(images))
        torch.zeros(10**15)

    with pytest.raises(NoRoom, match=r"^cpu has no room for it\.$") as caught, room_for("cpu has no room for it."):
        computed()
    gc.collect()
    assert large[0]() is None
    assert caught.value.__suppress_context__


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="no"), room_for("There is no room."):
        raise ValueError("no")
