"""Mends dvc.lock where DVC was killed while it wrote it: DVC writes the file in place. `python -m flows.lock`.

What a damaged dvc.lock recorded is not lost: DVC keeps a record of each stage that it ran in its cache, too (the run
cache), and `dvc repro` takes up from there what the last commit's dvc.lock does not have, without running a stage.
"""

import sqlite3
import sys
from pathlib import Path

from flows.workspace import git
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.pipeline import pipeline_needed

LOCK = "dvc.lock"
SCHEMA = "2.0"
"""Version of its format."""
DAMAGED = Path(".scn/dvc.lock.damaged")
"""Where the damaged file is kept, in the project."""
_CONFLICT = b"<<<<<<<"


def mend_lock(project: Path) -> str:
    """Puts the last commit's dvc.lock in place of one that DVC can't read, or none if that has none.

    One in which git has left the two sides of a merge stays, and so does one while a DVC is at work.

    Returns:
        a sentence on what was done; "" if there was nothing to do.
    Raises:
        UserError: if another version of DVC wrote it, or the disk is full; it stays, too.
    """
    path = project / LOCK
    if _is_whole(project, path):
        return ""
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(project)) as repo, repo.lock:
            if _is_whole(project, path):  # it was being written
                return ""
            (project / DAMAGED).parent.mkdir(exist_ok=True)
            path.replace(project / DAMAGED)
            put_back = _committed(project)
            if put_back:
                try:
                    write_atomically(path, put_back)
                except UserError:
                    (project / DAMAGED).replace(path)  # the next call mends it
                    raise
                if not _is_whole(project, path):
                    path.unlink()
                    put_back = b""
    except LockError:
        return ""
    except (OSError, sqlite3.Error) as error:  # of DVC's own files, which a full disk does not take either
        raise UserError(
            f"{path} can't be read, as DVC was killed while it wrote it, and not be put back ({error}): make room on "
            "the disk, and run it again."
        ) from None
    how = "is that of the last commit again" if put_back else "is begun anew"
    return (
        f"{path} can't be read, as DVC was killed while it wrote it: it {how}, and DVC takes what it had recorded "
        f"since then from its cache (the damaged file is {DAMAGED})."
    )


def _is_whole(project: Path, path: Path) -> bool:
    """Whether DVC can read its lock, or git has left the two sides of a merge in it."""
    from dvc.dvcfile import Lockfile
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import parse_yaml

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return True
    if _CONFLICT in content:
        return True
    try:
        found = parse_yaml(content.decode(), str(path))
        schema = found.get("schema") if isinstance(found, dict) else None
        if isinstance(schema, str) and schema != SCHEMA:
            raise UserError(
                f"{path} was written by another version of DVC (schema {schema}, not {SCHEMA}): put back an "
                f"earlier one (`git log {LOCK}`), and run the DVC of constraints.txt."
            )
        Lockfile.validate(found)
    except (DvcException, UnicodeDecodeError):
        return False
    return True


def _committed(project: Path) -> bytes:
    """The dvc.lock of the last commit; b"" if it has none."""
    try:
        return git(project, "show", f"HEAD:./{LOCK}").encode() + b"\n"
    except UserError:
        return b""


def main() -> int:
    """Mends the dvc.lock of the current folder; returns status 1 after one sentence if that can't be."""
    try:
        if sentence := mend_lock(Path.cwd()):
            print(sentence, file=sys.stderr)
    except UserError as error:
        print(f"flows: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with pipeline_needed("flows"):
        sys.exit(main())
