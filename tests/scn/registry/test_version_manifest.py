"""The manifest of a version, whose format is read before anything else in it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.registry.publish import install
from scn.registry.reference import find, resolve
from scn.registry.show import verified

NAME = "dn-s25"


def test_a_manifest_of_a_newer_scn_is_told_as_one(small_project: Any, tmp_path: Path) -> None:
    small_project.publish(NAME)
    params = small_project.params
    path = small_project.root / "store/registry" / NAME / "v1/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 2}))
    folder = shutil.copytree(path.parent, tmp_path / "copy")
    told = r"manifest\.json is of format 2, which a newer scn writes: update this installation"
    acts: list[Callable[[], object]] = [
        lambda: find(folder),
        lambda: find(NAME, params.path),
        lambda: resolve(NAME, params),
        lambda: install(params, folder),
    ]
    for act in acts:
        with pytest.raises(UserError, match=rf"{told}\.$"):
            act()
    ((_, problem),) = verified(params, [])
    assert re.search(f"{told}$", problem)
