"""How much of this machine's memory this process may still take."""

import resource

import psutil

from scn.core.control_group import memory_left
from scn.core.errors import UserError


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
