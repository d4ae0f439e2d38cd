"""The manifest of a version, whose format is read before anything else in it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import scn.cli
from scn.core.errors import UserError
from scn.registry.manifest import NewerFormat
from scn.registry.publish import install
from scn.registry.reference import find, resolve
from scn.registry.show import verified

NAME = "dn-s25"


def of_format_2(project: Any, name: str) -> Path:
    """The folder of v1 after another scn has published it."""
    path = Path(project.root / "store/registry" / name / "v1/manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 2}))
    return path.parent


def test_a_manifest_of_a_newer_scn_is_told_as_one(small_project: Any, tmp_path: Path) -> None:
    small_project.publish(NAME)
    params = small_project.params
    folder = shutil.copytree(of_format_2(small_project, NAME), tmp_path / "copy")
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
    assert isinstance(problem, NewerFormat)


def test_no_one_is_told_to_delete_a_version_of_a_newer_scn(
    small_project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_project.publish(NAME, "sr-x2")
    of_format_2(small_project, NAME)

    def verify() -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["scn", "models", "verify", "--params", str(small_project.params.path)])
        with pytest.raises(SystemExit, match="1"):
            scn.cli.main()
        out, err = capsys.readouterr()
        return out, err.splitlines()[-1]

    newer = "1 published version is of a newer format: update this installation of scn to verify it."
    out, last = verify()
    assert out.endswith("a newer scn writes: update this installation\nsr-x2@v1: whole\n")
    assert last.removeprefix("scn: ") == newer
    (small_project.root / "store/registry/sr-x2/v1/config.json").unlink()
    last = verify()[1].removeprefix("scn: ")
    assert last.startswith("1 published version is damaged or not signed: ")
    assert last.endswith(f"with `scn publish`; {newer}")
