"""`data-prep verify`: every shard that is missing or damaged is named."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from photo_folder import SIZES, write_photos

from data_prep.prepare import make_manifests
from data_prep.verify import problems
from scn.config.params import load_params
from scn.shards.manifest import Manifests, load_manifest, write_manifests
from scn.storage import open_store
from scn.storage.base import StoreError
from scn.storage.local import FileStore
from scn.storage.s3_client import s3_session


@pytest.fixture
def manifest(project: Path, configure: Callable[..., None]) -> Manifests:
    configure("data", sub_image=24, stride=12)
    configure("data", min_shards=3)
    made, _ = make_manifests(load_params(), "sr-x2", workers=0)
    write_manifests(Path("out"), made)
    return made


def test_sound_shards_have_no_problems(manifest: Manifests, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    for file, images in (("train", manifest.train), ("evaluation", manifest.evaluation.sets["tests"])):
        status, out, err = run_cli("verify", f"out/{file}.json")
        assert (status, err) == (0, "")
        total, count = sum(shard.bytes for shard in images.shards), len(images.shards)
        where = open_store("file://.scn/store").url
        assert out == f"out/{file}.json: {count} shards, {total} bytes in {where}, all as made\n"


def test_shards_are_looked_for_where_they_were_put(
    project: Path, run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("below").mkdir()
    monkeypatch.chdir("below")
    where = ("--store", "file://mine", "--params", "../params.yaml")
    status, out, err = run_cli("shard", "--experiment", "sr-x2", "--out", "out", "--workers", "0", *where)
    assert (status, err) == (0, "")
    assert f" bytes, in file://{project}/mine, " in out
    status, out, err = run_cli("verify", "out/train.json", *where)
    assert (status, err) == (0, "")
    assert f" bytes in file://{project}/mine, all as made" in out


def test_everything_that_is_wrong_is_named(manifest: Manifests, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    cut, flipped, gone, _ = (Path(".scn/store", shard.key) for shard in manifest.shards())
    cut.write_bytes(cut.read_bytes()[:-512])
    flipped.write_bytes(flipped.read_bytes().replace(b"\x93NUMPY", b"\x93NUMPX", 1))
    gone.unlink()
    status, out, err = run_cli("verify", "out/train.json", "--store", "file://.scn/store")
    lines = err.splitlines()
    keys = [shard.key for shard in manifest.shards()]
    assert (status, out, len(lines)) == (1, "", 4)
    assert f"The shard {keys[0]} in file://" in lines[0]
    assert "is damaged (it has " in lines[0]
    assert f"The shard {keys[1]} in file://" in lines[1]
    assert "is damaged (its SHA-256 is not the manifest's)" in lines[1]
    assert f"The shard {keys[2]} is not in file://" in lines[2]
    assert lines[3].startswith("data-prep: 3 of 3 shards of out/train.json can't be trusted: ")

    make_manifests(load_params(), "sr-x2", workers=0)
    assert not list(problems(manifest.train, open_store("file://.scn/store")))


@pytest.mark.parametrize("out", ["shards/mine", "shards/sr-x4"])
@pytest.mark.parametrize("where", [("--store", "file://st"), ()])
def test_shards_that_were_made_by_hand_are_made_again_by_the_same_command(
    project: Path, run_cli: Callable[..., tuple[int, str, str]], where: tuple[str, ...], out: str
) -> None:
    """The experiment's DVC stage would make shards of other images, and the damage would stay."""
    write_photos(Path("photos2"), sorted(SIZES)[:2])
    made = ("--experiment", "sr-x4", "--out", out, "--images", "photos2", "--workers", "0", *where)
    assert run_cli("shard", *made)[0] == 0
    manifest = Path(out, "train.json")
    damaged = Path("st" if where else ".scn/store", load_manifest(manifest).shards[0].key)
    whole, kept = damaged.read_bytes(), manifest.read_bytes()
    damaged.write_bytes(whole[:-512])

    status, _, err = run_cli("verify", str(manifest), *where)
    assert (status, "shard@" in err) == (1, False)
    assert "make it again with the `data-prep shard` command that made its manifest." in err
    for shards in load_manifest(manifest.with_name("evaluation.json")).sets.values():
        measured = Path("st" if where else ".scn/store", shards.shards[0].key)
        measured.write_bytes(measured.read_bytes()[:-512])
    status, _, err = run_cli("verify", str(manifest.with_name("evaluation.json")), *where)
    assert (status, "shard@" in err) == (1, False)
    assert run_cli("shard", *made)[0] == 0
    assert (damaged.read_bytes(), manifest.read_bytes()) == (whole, kept)
    assert run_cli("verify", str(manifest), *where)[0] == 0


def test_the_stage_is_named_where_it_makes_these_shards(
    project: Path, run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = ("shard", "--experiment", "sr-x2", "--out", "shards/sr-x2", "--workers", "0")  # what the stage runs
    assert run_cli(*shard)[0] == 0
    damaged = Path(".scn/store", load_manifest("shards/sr-x2/evaluation.json").sets["tests"].shards[0].key)
    damaged.write_bytes(b"")
    again = "make it again with `dvc repro --force --single-item shard@sr-x2`."
    assert again in run_cli("verify", "shards/sr-x2/evaluation.json")[2]
    monkeypatch.chdir("shards/sr-x2")
    assert again in run_cli("verify", "evaluation.json", "--params", "../../params.yaml")[2]
    monkeypatch.chdir(project)
    assert "shard@" not in run_cli("verify", "shards/sr-x2/evaluation.json", "--store", "file://other")[2]


@pytest.mark.usefixtures("project")
def test_of_a_manifest_that_is_missing_a_command_that_makes_it_is_named(
    run_cli: Callable[..., tuple[int, str, str]],
) -> None:
    for manifest, command in {
        "shards/sr-x2/train.json": "dvc repro shard@sr-x2",
        "shards/mine/train.json": "data-prep shard --experiment E --out shards/mine",  # no experiment has the name
        "shards/sr-x2/mine.json": "data-prep shard --experiment E --out shards/sr-x2",
        "train.json": "data-prep shard --experiment E --out .",
    }.items():
        status, _, err = run_cli("verify", manifest)
        assert (status, err) == (1, f"data-prep: {manifest} does not exist: make it with `{command}`.\n")


@pytest.mark.integration
def test_what_is_damaged_in_place_on_s3_is_made_again_by_the_command_that_is_told(
    project: Path, configure: Callable[..., None], run_cli: Callable[..., tuple[int, str, str]], s3_bucket: str
) -> None:
    configure("data", min_shards=3)
    with Path("params.yaml").open("a") as file:
        file.write(f"storage: {{url: s3://{s3_bucket}/store}}\n")
    shard = ("shard", "--experiment", "sr-x2", "--out", "shards/sr-x2", "--workers", "0")  # what the stage runs
    assert run_cli(*shard)[0] == 0
    damaged = load_manifest("shards/sr-x2/train.json").shards[1]
    place = {"Bucket": s3_bucket, "Key": f"store/{damaged.key}"}
    client = s3_session().client("s3")
    kept = client.get_object(**place)
    data = kept["Body"].read()
    client.put_object(**place, Body=data.replace(b"\x93NUMPY", b"\x93NUMPX", 1), Metadata=kept["Metadata"])

    _, _, err = run_cli("verify", "shards/sr-x2/train.json")
    told = "(its SHA-256 is not the manifest's): make it again with `dvc repro --force --single-item shard@sr-x2`."
    assert f"The shard {damaged.key} in s3://{s3_bucket}/store is damaged {told}" in err
    status, out, _ = run_cli(*shard)
    assert status == 0
    assert "samples in 6 shards, of which 5 were there already" in out
    assert client.get_object(**place)["Body"].read() == data
    assert run_cli("verify", "shards/sr-x2/train.json")[0] == 0


def test_counts_that_do_not_add_up_are_named(manifest: Manifests) -> None:
    shards = [manifest.train.shards[0].model_copy(update={"samples": 99}), *manifest.train.shards[1:]]
    wrong = manifest.train.model_copy(update={"shards": shards})
    found = list(problems(wrong, open_store("file://.scn/store")))
    assert len(found) == 2
    assert found[0].startswith("The manifest counts 32 samples of photos, its shards 1")
    assert found[1].startswith(f"The shard {shards[0].key} holds ")
    assert "samples, the manifest says 99" in found[1]


@pytest.mark.parametrize("words", [(), ("--store", "file://.scn/store"), ("--params", "none.yaml")])
def test_a_store_that_fails_for_a_moment_is_waited_for(
    manifest: Manifests,
    run_cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    read, failures = FileStore._read, [StoreError("No answer.")] * 2

    def failing(store: FileStore, key: str, file: IO[bytes]) -> None:
        if failures:
            raise failures.pop()
        read(store, key, file)

    monkeypatch.setattr(FileStore, "_read", failing)
    monkeypatch.setattr("scn.storage.patience.rest", lambda *_: True)
    more = ("--store", "file://.scn/store") if "none.yaml" in words else ()
    status, out, err = run_cli("verify", "out/train.json", *words, *more)
    assert (status, err, failures) == (0, "", [])
    assert out.endswith("all as made\n")


def test_a_store_that_is_away_ends_it_and_says_nothing_of_the_shards(
    manifest: Manifests, run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = FileStore._read, list[str]()

    def goes_away(store: FileStore, key: str, file: IO[bytes]) -> None:
        asked.append(key)
        if len(asked) > 1:
            raise StoreError("No answer.")
        read(store, key, file)

    monkeypatch.setattr(FileStore, "_read", goes_away)
    monkeypatch.setattr("scn.storage.patience.rest", lambda *_: False)
    status, out, err = run_cli("verify", "out/train.json")
    assert (status, out, err) == (1, "", "data-prep: No answer.\n")
    assert asked == [shard.key for shard in manifest.train.shards[:2]]
