"""Models by reference, in any folder: load, restore, and the list of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scn.cli
import scn.zoo
from scn.core.errors import UserError
from scn.registry.land import land
from scn.registry.promote import promote
from scn.registry.publish import publish
from scn.registry.reference import ModelEntry, list_models, load
from scn.registry.several import restore


@pytest.fixture
def project(small_project: Any) -> Any:
    """sr-x2 and car-q10 ship; sr-x2 is published twice, dn-s25 once."""
    for name in ("sr-x2", "car-q10", "dn-s25"):
        small_project.add_model(name)
        small_project.add_metrics(name)
    for name in ("sr-x2", "car-q10"):
        land(small_project.params, name)
    for name in ("sr-x2", "dn-s25"):
        publish(small_project.params, name)
    small_project.add_metrics("sr-x2", psnr=31.0)
    publish(small_project.params, "sr-x2")
    return small_project


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def shipped() -> list[ModelEntry]:
    return [
        ModelEntry(
            name=name,
            version="",
            task=task,
            level=level,
            scale=scale,
            source=str(scn.zoo.FOLDER / name),
            figures="31.50 dB on sample/evaluation",
        )
        for name, task, level, scale in (("car-q10", "car", 10, 1), ("sr-x2", "sr", 2, 2))
    ]


def test_sets_have_the_names_that_papers_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.zoo.FOLDER", Path(scn.zoo.__file__).parent)
    [entry] = [entry for entry in list_models(params_file="") if entry.name == "sr-x2"]
    assert entry.figures.endswith(" dB on BSD100")  # BSDS500/val in metrics.json


def test_models_that_ship_and_versions_are_listed(project: Any) -> None:
    published = [
        ModelEntry(
            name=name,
            version=version,
            task=task,
            level=level,
            scale=scale,
            source=f"file://store/registry/{name}/{version}",
            names=names,
            figures=f"{psnr} dB on sample/evaluation",
        )
        for name, version, task, level, scale, names, psnr in (
            ("dn-s25", "v1", "dn", 25, 1, ("latest",), "31.50"),
            ("sr-x2", "v1", "sr", 2, 2, (), "31.50"),
            ("sr-x2", "v2", "sr", 2, 2, ("latest",), "32.50"),
        )
    ]
    found = list_models(params_file=project.params.path)
    assert found == [*shipped(), *published]
    assert [entry.reference for entry in found] == ["car-q10", "sr-x2", "dn-s25@v1", "sr-x2@v1", "sr-x2@v2"]
    for entry in found:
        model = load(entry.reference, "cpu", params_file=project.params.path)
        assert (model.task.name, model.level, model.scale) == (entry.task, entry.level, entry.scale)


def test_in_an_empty_folder_what_ships_is_there(project: Any, elsewhere: Path, photograph: Callable[..., Any]) -> None:
    assert list_models() == shipped()
    pixels = photograph(16, 20)
    by_name = restore(pixels, "sr-x2")
    assert by_name.shape == (32, 40, 3)
    assert np.array_equal(by_name, restore(pixels, load("sr-x2", "cpu")))
    assert np.array_equal(by_name, restore(pixels, project.root / "models" / "sr-x2"))
    Image.fromarray(pixels).save(elsewhere / "a.png")
    assert np.array_equal(np.asarray(restore(elsewhere / "a.png", "sr-x2")), by_name)
    assert np.array_equal(np.asarray(restore(Image.fromarray(pixels), "sr-x2")), by_name)
    assert [path.name for path in elsewhere.iterdir()] == ["a.png"]


def test_in_an_empty_folder_others_are_told(project: Any, elsewhere: Path) -> None:
    with pytest.raises(UserError) as caught:
        load("dn-s25")
    assert str(caught.value) == (
        "'dn-s25' is no folder with a model and none that ships (car-q10, sr-x2), and params.yaml does not exist, "
        "which would say where others are: name one of these, or run this in the project's folder."
    )


def test_a_params_yaml_of_somebody_else_keeps_nobody_from_what_ships(
    project: Any, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "params.yaml").write_text("learning_rate: 0.1\n")
    assert load("sr-x2", "cpu").folder == scn.zoo.FOLDER / "sr-x2"
    said = capsys.readouterr().err
    assert said.startswith(f"sr-x2: {scn.zoo.FOLDER / 'sr-x2'} serves, as no registry is known (params.yaml: ")
    assert said.count("\n") == 1
    assert list_models() == list_models() == shipped()
    said = capsys.readouterr().err
    assert said.startswith("only models that ship are listed, as no registry is known (params.yaml: ")
    assert said.count("\n") == 1
    with pytest.raises(UserError, match=r"^params\.yaml: "):
        load("dn-s25")


DAMAGED = {
    "no JSON": "{",
    "no table": "[]",
    "no architecture": '{"task": "dn"}',
    "too deep": "[" * 100_000,
    "infinite scale": '{"architecture": {"scale": 1e999}}',
    "infinite level": '{"architecture": {}, "level": 1e999}',
    "no number": '{"architecture": {}, "level": "25"}',
}


@pytest.mark.parametrize("damage", ["gone", *DAMAGED])
def test_a_damaged_config_is_named_and_hides_no_other(
    project: Any, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project.root / "store" / "registry" / "dn-s25" / "v1" / "config.json"
    path.unlink()
    if damage != "gone":
        path.write_text(DAMAGED[damage])
    for _ in range(2):  # as a page does at each request
        found = [entry.reference for entry in list_models(params_file=project.params.path)]
        assert found == ["car-q10", "sr-x2", "sr-x2@v1", "sr-x2@v2"]
    told = capsys.readouterr().err
    assert told.startswith("file://store/registry/dn-s25/v1/config.json is missing or damaged: delete")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["latest", "aliases/production"])
def test_a_damaged_name_is_told_and_hides_nothing(project: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    promote(project.params, "sr-x2@v1", "production")
    (project.root / f"store/registry/sr-x2/{name}.json").write_text('{"version": ')
    found = [(entry.reference, entry.names) for entry in list_models(params_file=project.params.path)]
    names = [("production",), ()] if name == "latest" else [(), ("latest",)]
    shipping = [("car-q10", ()), ("sr-x2", ()), ("dn-s25@v1", ("latest",))]
    assert found == [*shipping, ("sr-x2@v1", names[0]), ("sr-x2@v2", names[1])]
    told = capsys.readouterr().err
    assert told.startswith(f"registry/sr-x2/{name}.json holds no pointer (")
    assert told.count("\n") == 1


def test_a_model_that_ships_is_published_before_it_has_versions(project: Any) -> None:
    with pytest.raises(UserError, match=r"car-q10 ships with .*: publish it with `scn models install \S+/car-q10`\."):
        load("car-q10@v1", params_file=project.params.path)


def test_a_model_that_does_not_say_all_is_listed_all_the_same(project: Any, elsewhere: Path) -> None:
    path = scn.zoo.FOLDER / "sr-x2" / "config.json"
    config = json.loads(path.read_bytes())
    path.write_text(json.dumps({"architecture": config["architecture"]}))
    assert [(entry.task, entry.level, entry.scale) for entry in list_models()] == [("car", 10, 1), ("", None, 2)]


def test_the_command_lists_them(
    project: Any, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["scn", *arguments])
        with pytest.raises(SystemExit) as end:
            scn.cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    lines = run("models", "list", "--params", str(project.params.path)).splitlines()
    assert [line.split()[1] for line in lines] == [
        *("model", lines[1].split()[1], "car-q10", "sr-x2", "dn-s25@v1", "sr-x2@v1", "sr-x2@v2")
    ]
    figures = "32.50 dB on sample/evaluation"
    cells = ["sr-x2@v2", "latest", "sr", "2", "2", figures, "file://store/registry/sr-x2/v2"]
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == cells
    monkeypatch.setattr("scn.zoo.FOLDER", elsewhere / "empty")
    assert run("models", "list").startswith("No model ships, and none is published: train one")
