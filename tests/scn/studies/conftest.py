"""A project with the shards of two experiments, in which studies run in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scn.config.params import Params

TINY = ["train.patch_size=8", "train.batch_size=2", "model.units=4"]
"""Settings that make the networks of every study tiny."""


@pytest.fixture(scope="session")
def make_studied(make_project: Callable[..., Any], photograph: Callable[..., Any]) -> Callable[[Path], Params]:
    """A function: folder -> a project in it with the shards of sr-x2 and sr-x4, the same to train and measure on."""

    def make(root: Path) -> Params:
        project = make_project(root)
        file = root / "params.yaml"
        document = yaml.safe_load(file.read_text())
        document["experiments"]["sr-x4"] = {"task": "sr", "level": 4}
        file.write_text(yaml.safe_dump(document))
        for name in ("sr-x2", "sr-x4"):
            project.add_shards(name, {"a": photograph(64, 64), "b": photograph(60, 76)})
        params: Params = project.params
        return params

    return make


@pytest.fixture
def studied(small_project: Any, make_studied: Callable[[Path], Params]) -> Params:
    """A project with the shards of sr-x2 and sr-x4: two images to train on, the same to measure on."""
    return make_studied(small_project.root)


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], list[str]]:
    """A function: name of a study -> settings for tiny networks.

    A U-Net has no fewer than four blocks, and of six scales all count with five blocks only.
    """
    blocks = {"scn-table4": 4, "scn-figure6": 5, "scn-figure7": 5}
    return lambda name: [*TINY, f"model.blocks={blocks.get(name, 3)}"]
