"""The zoo: models land there, serve where nothing is published, and are installed in a registry."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import scn.zoo
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import file_sha256
from scn.inference.model_files import load_model
from scn.inference.records import Receipt
from scn.registry.land import land
from scn.registry.publish import install, latest, publish, versions
from scn.registry.reference import find, load
from scn.storage import open_store

NAME = "dn-s25"
FILES = ["model.safetensors", "config.json", "metrics.json", "README.md", "curves.csv", "manifest.json"]


@pytest.fixture
def project(small_project: Any) -> Any:
    """A project with a model, its figures, and curves as a training leaves them."""
    small_project.add_model(NAME)
    small_project.add_metrics(NAME)
    curves = small_project.root / "curves" / NAME / "plots" / "metrics"
    curves.mkdir(parents=True)
    (curves / "loss.tsv").write_text("step\tloss\n20\t0.5\n40\t0.25\n")
    (curves / "psnr.tsv").write_text("step\tpsnr\n0\t20.1\n40\t29.5\n")
    return small_project


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def first(network: torch.nn.Module) -> torch.Tensor:
    return next(iter(network.state_dict().values()))


def test_what_lands_is_a_version_with_its_curves(project: Any) -> None:
    folder = scn.zoo.FOLDER / NAME
    assert land(project.params, NAME) == [folder / name for name in FILES]
    assert {path.name for path in folder.parent.iterdir()} == {NAME}
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["experiment"] == NAME
    assert list(manifest["files"]) == FILES[:-1]
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": file_sha256(folder / name), "bytes": (folder / name).stat().st_size}
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (project.root / "models" / NAME / name).read_bytes()
    assert (folder / "curves.csv").read_text() == "step,loss,psnr\n0,,20.1\n20,0.5,\n40,0.25,29.5\n"
    assert f"scn restore IN OUT --model {NAME}" in (folder / "README.md").read_text()


def test_what_lands_takes_the_place_of_what_was_there(project: Any) -> None:
    land(project.params, NAME)
    shutil.rmtree(project.root / "curves")
    project.add_model(NAME, seed=1)
    with pytest.raises(UserError, match="was measured with other weights"):
        land(project.params, NAME)
    assert (scn.zoo.FOLDER / NAME / "curves.csv").is_file()  # as it was
    project.add_metrics(NAME, 31.0)
    assert [path.name for path in land(project.params, NAME)] == [*FILES[:4], FILES[-1]]
    assert bytes_in(scn.zoo.FOLDER / NAME).keys() == {*FILES[:4], FILES[-1]}
    assert find(NAME, project.params.path)[0] == scn.zoo.FOLDER / NAME


def test_a_full_disk_leaves_the_zoo_as_it_was(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    land(project.params, NAME)
    before = bytes_in(scn.zoo.FOLDER / NAME)
    project.add_model(NAME, seed=1)
    project.add_metrics(NAME)

    def full(path: Path, data: bytes) -> None:
        if path.name == "README.md":
            raise UserError("no space")
        write_atomically(path, data)

    monkeypatch.setattr("scn.registry.land.write_atomically", full)
    with pytest.raises(UserError, match="no space"):
        land(project.params, NAME)
    assert bytes_in(scn.zoo.FOLDER / NAME) == before
    assert {path.name for path in (scn.zoo.FOLDER).iterdir()} == {NAME}


def test_it_serves_where_nothing_is_published(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    land(project.params, NAME)
    folder = scn.zoo.FOLDER / NAME
    network = load(NAME, params_file=project.params.path)
    assert torch.equal(first(network.network), first(load_model(folder)[0]))
    assert capsys.readouterr().err == f"{NAME}: uses {folder}, as no version is published in file://store\n"
    photograph = project.root / "photograph.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 20), dtype=np.uint8)).save(photograph)
    assert network.restore(photograph).size == (20, 16)


def test_a_published_version_wins(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    land(project.params, NAME)
    project.add_model(NAME, seed=1)
    project.add_metrics(NAME)
    publish(project.params, NAME)
    assert torch.equal(
        first(load(NAME, params_file=project.params.path).network), first(load_model(project.root / "models" / NAME)[0])
    )
    assert capsys.readouterr().err == ""


def test_a_version_is_never_taken_from_the_zoo(project: Any) -> None:
    land(project.params, NAME)
    with pytest.raises(UserError, match=r"^dn-s25 ships with the project, and no version of it is published in "):
        find(f"{NAME}@v1", project.params.path)
    with pytest.raises(
        UserError, match=r"did you mean 'dn-s25' \(nothing is published there yet, in the zoo: dn-s25\)"
    ):
        find("dn-s26", project.params.path)


@pytest.mark.parametrize("file", ["model.safetensors", "curves.csv", "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_damage_is_told_and_not_installed(project: Any, file: str, damage: str) -> None:
    land(project.params, NAME)
    path = scn.zoo.FOLDER / NAME / file
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"?" + path.read_bytes()[1:])
    for attempt in (lambda: find(NAME, project.params.path), lambda: install(project.params, path.parent)):
        with pytest.raises(UserError, match=rf"zoo/{NAME}/{file} "):
            attempt()
    assert open_store(project.params.storage.url, project.root).list("registry/") == []


def test_install_publishes_the_same_bytes_once(project: Any) -> None:
    land(project.params, NAME)
    folder = scn.zoo.FOLDER / NAME
    receipt = install(project.params, folder)
    assert receipt == Receipt(
        experiment=NAME,
        version="v1",
        url=f"file://store/registry/{NAME}/v1",
        manifest_sha256=file_sha256(folder / "manifest.json"),
        weights_sha256=file_sha256(folder / "model.safetensors"),
    )
    assert bytes_in(project.root / "store" / "registry" / NAME / "v1") == bytes_in(folder)
    assert install(project.params, folder) == receipt
    assert not (project.root / "published").exists()  # that is the stage's
    store = open_store(project.params.storage.url, project.root)
    assert (versions(store, NAME), latest(store, NAME)) == ([1], "v1")
    shutil.rmtree(scn.zoo.FOLDER)
    assert find(NAME, project.params.path)[0].parent == project.root / ".scn" / "cache"


def test_install_comes_after_other_versions(project: Any) -> None:
    land(project.params, NAME)
    landed = first(load_model(scn.zoo.FOLDER / NAME)[0])
    project.add_model(NAME, seed=1)
    project.add_metrics(NAME)
    publish(project.params, NAME)
    assert install(project.params, scn.zoo.FOLDER / NAME).version == "v2"
    assert torch.equal(first(load(NAME, params_file=project.params.path).network), landed)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("no version", r"manifest\.json can't be read \(No such file or directory\): name the folder of a published"),
        ("no card", r"manifest\.json names no README\.md: name the folder of a whole version, as scn/zoo/EXPERIMENT"),
        ("no experiment", r"manifest\.json names no name of an experiment"),
        ("no network", r"holds a damaged model"),
    ],
)
def test_what_is_no_version_is_refused(project: Any, spoil: str, message: str) -> None:
    land(project.params, NAME)
    folder = scn.zoo.FOLDER / NAME
    manifest = json.loads((folder / "manifest.json").read_bytes())
    match spoil:
        case "no version":
            folder = project.root / "models" / NAME
        case "no card":
            del manifest["files"]["README.md"]
        case "no experiment":
            manifest["experiment"] = "../elsewhere"
        case "no network":
            (folder / "config.json").write_text("{}")
            manifest["files"]["config.json"]["sha256"] = file_sha256(folder / "config.json")
    if spoil != "no version":
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message):
        install(project.params, folder)
    assert open_store(project.params.storage.url, project.root).list("registry/") == []
