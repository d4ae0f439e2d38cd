"""The small copy of the project (benchmarks.workspace) as the tests use it: made once for all their processes."""

import os
import shutil

import pytest
from filelock import FileLock

from benchmarks.workspace import ROOT, TINY, Workspace

__all__ = ["ROOT", "TINY", "Workspace", "published"]


def published(factory: pytest.TempPathFactory, name: str) -> Workspace:
    """A workspace in which sr-x2 has been published and the report made.

    All processes of the tests share the work: the first one does it, and each gets a copy of its own.
    """
    base = factory.getbasetemp()
    source = Workspace((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "published")
    with FileLock(f"{source.root}.lock"):
        if not source.root.exists():
            making = Workspace(source.root.with_name("publishing")).fill()
            making.run("dvc", "repro", "shard@sr-x2")
            # The same weights as the stage's command gives, without Ray Train's start, which takes longer than all the
            # rest; tests/flows/test_prefect_server.py runs the stage.
            making.run("scn", "train", "--experiment", "sr-x2", "--plain")
            making.run("dvc", "commit", "--quiet", "--force", "train@sr-x2")
            assert "train@sr-x2" not in making.status("publish@sr-x2")
            making.run("dvc", "repro", "publish@sr-x2")
            making.run("dvc", "repro", "--single-item", "report")  # the whole of it waits for all ten experiments
            making.root.rename(source.root)
    copy = Workspace(factory.mktemp(name) / "workspace")
    shutil.copytree(source.root, copy.root, symlinks=True)
    return copy
