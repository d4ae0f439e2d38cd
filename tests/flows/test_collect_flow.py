"""`collect`: workspaces of runs that are over, and nothing of those that are at work."""

import os
import time
import uuid
from pathlib import Path

from flows.collect import old_workspaces


def test_only_old_workspaces_of_runs_that_are_over_are_found(tmp_path: Path) -> None:
    alive, over, recent = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    folders = {run: tmp_path / f".scn/flow-runs/sr-x2-{str(run)[:8]}" for run in (alive, over, recent)}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for run in (alive, over):
        os.utime(folders[run], (0, time.time() - 3 * 86400))
    assert old_workspaces(tmp_path, [alive], 2) == [folders[over]]
    assert old_workspaces(tmp_path, [], 2) == sorted([folders[over], folders[alive]])
    assert old_workspaces(tmp_path / "empty", [], 0) == []
