"""`scn evaluate` as a command: its options, its table and its JSON file."""

import json
from pathlib import Path
from typing import Any

import pytest
from measured_sets import measured
from PIL import Image

from scn.cli import app
from scn.core.errors import UserError
from scn.inference.handle import Model


def test_a_matrix_loads_each_model_once_and_passes_over_what_does_not_fit(
    small_project: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("sr-x2", "dn-s25"):
        small_project.add_model(name)
    monkeypatch.chdir(small_project.root)
    loaded = []
    before = Model.__init__

    def init(self: Model, path: Path, *arguments: Any, **options: Any) -> None:
        loaded.append(path.name)
        before(self, path, *arguments, **options)

    monkeypatch.setattr(Model, "__init__", init)
    command = ["evaluate", "-e", "sr-x2", "-e", "dn-s25", "--images", str(folder), "--images", str(folder / "sub")]
    for method in ("input", "bicubic", "models/sr-x2", "models/dn-s25"):
        command += ["--method", method]
    with pytest.raises(
        UserError, match=r"^--experiment is given 2 times: add --matrix to measure every combination\.$"
    ):
        app(command, standalone_mode=False)
    app([*command, "--matrix", "--json", str(tmp_path / "all.json")], standalone_mode=False)
    assert loaded == ["sr-x2", "dn-s25"]
    found = json.loads((tmp_path / "all.json").read_text())
    assert [(each["method"], each["experiment"]) for each in found[::2]] == [
        ("input", "sr-x2"),
        ("input", "dn-s25"),
        ("bicubic", "sr-x2"),
        ("models/sr-x2", "sr-x2"),
        ("models/dn-s25", "dn-s25"),
    ]
    assert [len(each["images"]) for each in found] == [2, 1] * 5
    table = capsys.readouterr().out
    assert table.count("sr-rgb-v1") == 6
    assert f"{found[0]['mean']['psnr']:.2f}" in table
    command = ["evaluate", "-e", "dn-s25", "--matrix", "--images", str(folder)]
    with pytest.raises(UserError, match="None of bicubic, models/sr-x2 is for dn-s25: name a model of its task"):
        app([*command, "--method", "bicubic", "--method", "models/sr-x2"], standalone_mode=False)


def test_one_measurement_is_one_object_with_the_trained_model_by_default(
    small_project: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.add_model("sr-x2")
    monkeypatch.chdir(small_project.root)
    app(
        ["evaluate", "-e", "sr-x2", "--images", str(folder), "--json", str(tmp_path / "one.json")],
        standalone_mode=False,
    )
    found = json.loads((tmp_path / "one.json").read_text())
    assert Path(found["method"]).name == "sr-x2"
    assert {"protocol", "mean", "images", "provenance", "further"} <= found.keys()
    assert set(found["provenance"]) == {"data_sha256", "weights_sha256", "code_sha256"}


@pytest.mark.parametrize("text", ["3,x", "0", "-1", "2;3"])
def test_lists_of_numbers_are_checked(small_project: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=rf"^--scales: '{text}' is no list of numbers above 0: write it as 3,6,9\.$"):
        app(["evaluate", "-e", "dn-s25", "--scales", text], standalone_mode=False)


@pytest.mark.parametrize("option", ["images", "inputs", "save"])
def test_an_empty_name_is_no_folder(small_project: Any, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=f"^--{option} is empty: name a folder"):
        app(["evaluate", "-e", "sr-x2", "--method", "input", f"--{option}", ""], standalone_mode=False)


def test_an_empty_list_is_no_reason_to_run_the_stage(small_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=r"^--scales: '' is no list of numbers above 0: write it as 3,6,9\.$"):
        app(["evaluate", "-e", "dn-s25", "--scales", ""], standalone_mode=False)


def test_all_is_loaded_before_anything_is_measured(
    small_project: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_project.root)
    monkeypatch.setattr("scn.evaluation.compare.measure_samples", lambda *_, **__: pytest.fail("it was measured"))
    with pytest.raises(UserError, match="nothing"):
        measured(small_project, "sr-x2", [str(folder)], ["bicubic", "nothing"])
    command = ["evaluate", "-e", "sr-x2", "--images", str(folder), "--method", "bicubic", "--json"]
    with pytest.raises(UserError, match=r"^--json: .*project is a folder: name a file\.$"):
        app([*command, str(small_project.root)], standalone_mode=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"^--json: .*x\.json can't be written \(.*\): name a file elsewhere\.$"):
        app([*command, str(tmp_path / "file" / "x.json")], standalone_mode=False)


def test_what_was_measured_before_a_mistake_is_told(
    small_project: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    photograph: Any,
) -> None:
    monkeypatch.chdir(small_project.root)
    (tmp_path / "damaged").mkdir()
    path = tmp_path / "damaged" / "c.png"
    Image.fromarray(photograph(60, 60)).save(path)
    path.write_bytes(path.read_bytes()[:-3000])  # its header is whole
    command = ["evaluate", "-e", "sr-x2", "--matrix", "--method", "input"]
    file = tmp_path / "figures.json"
    command += ["--images", str(folder), "--images", str(path.parent), "--json", str(file)]
    with pytest.raises(UserError, match=r"c\.png"):
        app(command, standalone_mode=False)
    told = capsys.readouterr()
    assert "sr-y-v1" in told.out
    assert [each["set"] for each in json.loads(file.read_text())] == [str(folder)]
    assert told.err == f"{file} holds what was measured before, not all that was asked for.\n"


def test_names_are_no_markup(
    small_project: Any, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder.rename(folder.with_name("[b]"))
    monkeypatch.chdir(folder.parent)
    params = str(small_project.root / "params.yaml")
    app(
        ["evaluate", "-e", "sr-x2", "--images", "[b]", "--method", "bicubic", "--params", params],
        standalone_mode=False,
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "sr-y-v1" in line]
    assert rows[0][:4] == ["sr-x2", "[b]", "2", "bicubic"]
