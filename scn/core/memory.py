"""How much of this machine's memory this process may still take, and errors that say that there was too little."""

import resource
from contextlib import AbstractContextManager
from types import TracebackType

import psutil

from scn.core.control_group import memory_left
from scn.core.errors import UserError

_RAN_OUT = (
    *("allocate memory", "CUDA out of memory", "CUDA error: out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)
"""What a RuntimeError says where memory does not suffice: of PyTorch, of a GPU's driver and its libraries."""


class NoRoom(UserError):  # noqa: N818 - what happened
    """Memory does not suffice for what was asked for."""


def free() -> int:
    """Bytes that this process may still take: of the machine, of its control group and of its own limit."""
    found = [psutil.virtual_memory().available]
    if (left := memory_left()) is not None:
        found.append(left)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(found))


def require(needed: int, what: str, cure: str = "cut the image into parts") -> None:
    """Raises UserError, `what` to `cure`, unless so many bytes are free: the system would end the process."""
    if needed > (there := free()):
        raise UserError(
            f"{what}, for which {needed / 2**30:.1f} GiB of memory are needed and {there / 2**30:.1f} are free: end "
            f"other programs, or {cure}."
        )


def ran_out(error: BaseException) -> bool:
    """Returns True if an exception says that there was too little memory."""
    # The second is PyTorch's for a GPU, whose import this room does without.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if not isinstance(error, RuntimeError):
        return False
    # A CUDA graph whose recording has failed raises another error on its way out.
    before = None if error.__suppress_context__ else error.__context__
    return any(words in str(error) for words in _RAN_OUT) or (before is not None and ran_out(before))


class room_for(AbstractContextManager[None]):  # noqa: N801 - as contextlib's own
    """Context in which an error that says that there was too little memory becomes NoRoom with a sentence."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None or not ran_out(error):
            return
        # Its frames hold what has taken the memory, and would do so as long as somebody holds the sentence.
        error.__traceback__ = None
        del at
        raise NoRoom(self._sentence) from None
