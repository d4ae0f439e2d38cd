"""Files that appear whole or not at all."""

import os
import tempfile
from pathlib import Path

from scn.errors import UserError


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` so that, whenever the process dies, `path` holds what it held before or all of it.

    Raises:
        UserError: if the folder can't be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)  # mkstemp's 0600 would keep other users from reading it
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror}): name a file in a folder you may write to."
        ) from None
