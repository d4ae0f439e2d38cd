"""The commands that show, compare, fetch and verify versions."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

import scn.cli
from scn.core.errors import UserError
from scn.registry import show
from scn.registry.publish import publish
from scn.registry.reference import find
from scn.registry.versions import read_version
from scn.storage.base import StoreLacks
from scn.storage.local import FileStore

NAME = "dn-s25"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(small_project: Any) -> Any:
    for seed, psnr in ((1, 27.40), (2, 27.28)):
        small_project.add_model(NAME, seed)
        small_project.add_metrics(NAME, psnr)
        publish(small_project.params, NAME)
    return small_project


@pytest.fixture
def command(project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `scn models ...` in the project; returns exit status, output and errors."""
    monkeypatch.chdir(project.root)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["scn", "models", *words])
        with pytest.raises(SystemExit) as end:
            scn.cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_show_tells_figures_files_names_and_history(command: Command) -> None:
    command("promote", f"{NAME}@v1", "--as", "production", "--reason", "the fair")
    status, out, err = command("show", NAME)
    assert (status, err) == (0, "")
    assert out.startswith(f"{NAME}@v1, in file://")
    assert "names: latest, production" in out
    row = next(line for line in out.splitlines() if line.startswith("| sample/evaluation"))
    assert re.findall(r"[\d.]+ / [\d.]+", row) == ["27.40 / 0.8000", "28.90 / 0.8150", "29.15 / 0.8175"]
    assert "promoted: the fair" in out
    found = json.loads(command("show", f"{NAME}@v2", "--json")[1])
    assert found["model"] == f"{NAME}@v2"
    assert found["points_here"] == []
    assert set(found["files"]) == {"model.safetensors", "config.json", "metrics.json", "README.md"}


def test_show_tells_of_a_model_that_ships_in_any_folder(
    project: Any, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(find(f"{NAME}@v1", project.params.path)[0], scn.zoo.FOLDER / NAME)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    status, out, err = command("show", NAME)
    assert (status, err) == (0, "")
    assert "27.40 / 0.8000" in out
    assert "it ships" in out
    found = json.loads(command("show", NAME, "--json")[1])
    assert (found["model"], found["names"], found["url"]) == (NAME, {}, str(scn.zoo.FOLDER / NAME))


def test_show_says_that_what_ships_ships_and_of_nothing_else(command: Command, project: Any) -> None:
    assert "names: none points here\n" in (published := command("show", f"{NAME}@v2")[1])  # it was never latest
    command("pull", f"{NAME}@v2", "theirs")
    pulled = command("show", "theirs")[1]
    assert "theirs, in theirs\nmanifest: SHA-256" in pulled
    assert "names: " not in pulled
    assert not [each for each in (published, pulled) if "it ships" in each]


def test_compare_tells_the_difference_and_the_verdict(command: Command) -> None:
    status, out, _ = command("compare", f"{NAME}@v1", f"{NAME}@v2")
    assert status == 0
    row = next(line for line in out.splitlines() if "sample/evaluation" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["sample/evaluation", "28.90", "28.78", "-0.12"]
    assert out.splitlines()[-1].startswith(f"{NAME}@v2 may not take the place of {NAME}@v1, as it loses 0.12 dB")
    assert command("compare", f"{NAME}@v2", f"{NAME}@v1")[1].endswith(f"{NAME}@v1 may take its place as latest.\n")


def test_the_commands_that_move_print_where_the_name_points(command: Command) -> None:
    assert command("promote", f"{NAME}@v2", "--reason", "asked for") == (0, f"{NAME}@latest: v2\n", "")
    assert command("rollback", NAME) == (0, f"{NAME}@latest: v1\n", "")
    assert command("rollback", NAME, "--to", "v2") == (0, f"{NAME}@latest: v2\n", "")
    status, _, err = command("rollback", f"{NAME}@production")
    assert (status, err) == (1, f"scn: {NAME}@production points to no version: use `scn models promote`.\n")


def test_pull_copies_a_version_that_verifies(command: Command, tmp_path: Path) -> None:
    status, out, _ = command("pull", f"{NAME}@v2", str(tmp_path / "theirs"))
    assert status == 0
    assert [Path(line).name for line in out.splitlines()] == sorted(
        ["README.md", "config.json", "manifest.json", "metrics.json", "model.safetensors"]
    )
    assert read_version(tmp_path / "theirs").experiment == NAME
    assert command("pull", NAME, str(tmp_path / "theirs"))[2].endswith("is there already: name a new folder.\n")


def test_of_two_pulls_into_one_folder_the_first_is_whole_and_the_other_is_told(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = show.write_atomically, tmp_path / "out" / "theirs"

    def overtaken(path: Path, data: bytes) -> None:
        whole(path, data)
        monkeypatch.undo()
        show.pull(project.params, f"{NAME}@v2", out)

    monkeypatch.setattr(show, "write_atomically", overtaken)
    with pytest.raises(UserError, match=r"/theirs can't be made \(Directory not empty\): name a new folder\.$"):
        show.pull(project.params, f"{NAME}@v1", out)
    assert read_version(out).content == read_version(find(f"{NAME}@v2", project.params.path)[0]).content
    assert list(out.parent.iterdir()) == [out]


def test_verify_names_what_is_damaged(command: Command, project: Any) -> None:
    assert command("verify") == (0, f"{NAME}@v1: whole\n{NAME}@v2: whole\n", "")
    folder = project.root / f"store/registry/{NAME}"
    (folder / "v1/README.md").write_text("changed")
    (folder / "v2/config.json").unlink()
    status, out, err = command("verify")
    assert status == 1
    assert out.splitlines() == [
        f"{NAME}@v1: README.md is damaged (its SHA-256 is not the manifest's)",
        f"{NAME}@v2: config.json is missing",
    ]
    assert err == (
        "scn: 2 published versions are damaged or not signed: sign what is only not signed with `scn models sign`, and "
        "copy a damaged registry/EXPERIMENT/vN back from a back-up, or delete it in the store and publish its model "
        "again with `scn publish`.\n"
    )
    assert command("verify", f"{NAME}@v2")[1] == f"{NAME}@v2: config.json is missing\n"


@pytest.mark.parametrize("file", ["manifest.json", "model.safetensors"])
def test_a_store_that_fails_is_no_damage(
    command: Command, project: Any, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    whole = FileStore._read

    def read(store: FileStore, key: str, to: IO[bytes]) -> None:
        if key.endswith(f"v2/{file}"):
            raise StoreLacks("The store refused: check the keys.")
        whole(store, key, to)

    monkeypatch.setattr(FileStore, "_read", read)
    assert command("verify") == (1, f"{NAME}@v1: whole\n", "scn: The store refused: check the keys.\n")


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json"])
def test_a_damaged_version_is_mended_as_verify_says(command: Command, project: Any, file: str) -> None:
    """To publish again without having deleted it would make a third version beside the damaged one."""
    folder = project.root / f"store/registry/{NAME}/v2"
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-50])
    assert "or delete it in the store and publish its model again" in command("verify")[2]
    shutil.rmtree(folder)
    assert publish(project.params, NAME).version == "v2"
    assert (folder / file).read_bytes() == whole
    assert command("verify") == (0, f"{NAME}@v1: whole\n{NAME}@v2: whole\n", "")


def test_gc_shows_first(command: Command, project: Any) -> None:
    folder = project.root / f"store/registry/{NAME}"
    (folder / "v1/manifest.json").unlink()
    half = f"{NAME}@v1: it was never published whole"
    told = "0 versions would be deleted by --delete\n"
    assert command("gc") == (0, f"{half}, found so for 0 of 14 days\n", told)
    params = project.root / "params.yaml"
    params.write_text(yaml.safe_dump({**yaml.safe_load(params.read_text()), "collect": {"after_days": 0}}))
    assert command("gc") == (0, f"{half}\n", "1 version would be deleted by --delete\n")
    assert (folder / "v1/model.safetensors").exists()
    (project.root / "published").rename(project.root / "elsewhere")
    assert "nothing tells here which versions and shards are needed: run this" in command("gc", "--delete")[2]
    assert (folder / "v1/model.safetensors").exists()
    (project.root / "elsewhere").rename(project.root / "published")
    assert command("gc", "--delete")[2] == "1 version deleted\n"
    assert not (folder / "v1/model.safetensors").exists()
