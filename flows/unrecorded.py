"""Commits what a run could not commit, out of its workspace: `python -m flows.unrecorded WORKSPACE`.

A run that can't move its branch is done nevertheless. It keeps its workspace, whose dvc.lock is the only one that says
what was made of what, and in which is written down what was to be committed.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.results import Warn, record
from flows.workspace import git
from scn.core.errors import UserError, sentence
from scn.core.files import write_atomically

_FILE = Path(".git/unrecorded.json")


def remember(
    workspace: Path, commit: str, branch: str, stages: Sequence[str], message: str, files: Sequence[str]
) -> None:
    """Writes down in a workspace what `record` is to commit to `branch`, besides what is written there.

    Raises:
        UserError: if it can't be written, as on a full disk.
    """
    entry = {"commit": commit, "branch": branch, "stages": list(stages), "message": message, "files": list(files)}
    write_atomically(workspace / _FILE, json.dumps([*_entries(workspace), entry]).encode())


def remembered(workspace: Path) -> set[str]:
    """The branches that what is written down in a workspace is to be committed to."""
    return {entry["branch"] for entry in _entries(workspace)}


def forget(workspace: Path) -> None:
    """Takes back what was written down last, as it is committed. Raises UserError as `remember`."""
    if left := _entries(workspace)[:-1]:
        write_atomically(workspace / _FILE, json.dumps(left).encode())
    else:
        (workspace / _FILE).unlink()


def record_again(workspace: Path, warn: Warn) -> list[str]:
    """Commits all that is written down in a workspace, and then removes it; returns the branches.

    Args:
        warn: is called if a git remote does not take a branch.
    Raises:
        UserError: if nothing is written down there, or a branch still can't be moved.
    """
    entries = _entries(workspace)
    if not entries:
        raise UserError(
            f"{workspace} is no workspace whose run is not recorded: give the folder that the end of the run names."
        )
    project = Path(git(workspace, "remote", "get-url", "origin"))
    for entry in entries:
        record(project, workspace.resolve(), warn=warn, **entry)
    shutil.rmtree(workspace)
    return [entry["branch"] for entry in entries]


def _entries(workspace: Path) -> list[dict[str, Any]]:
    path = workspace / _FILE
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return found


def main(arguments: Sequence[str]) -> int:
    """Records the workspaces that are named; returns status 1 after one sentence if one can't be."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m flows.unrecorded WORKSPACE...: commits what these runs could not.", file=sys.stderr)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    try:
        for workspace in arguments:
            branches = record_again(Path(workspace), lambda sentence: print(f"flows: {sentence}", file=sys.stderr))
            print(f"{', '.join(branches)} has what was made in {workspace}, which is removed.")
    except (UserError, OSError) as error:
        print(f"flows: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
