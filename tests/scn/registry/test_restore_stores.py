"""`scn restore` from one store into another: what is done is found again, and recorded with its hashes."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from photo_folder import picture
from PIL import Image

import scn.cli
from scn.core.ray import start_ray, stop_ray
from scn.registry import restore_stores
from scn.registry.publish import publish
from scn.registry.reference import load
from scn.storage import patience
from scn.storage.base import StoreError
from scn.storage.local import FileStore


@pytest.fixture
def project(small_project: Any) -> Any:
    small_project.add_model("dn-s25")
    small_project.add_metrics("dn-s25")
    publish(small_project.params, "dn-s25")
    return small_project


@pytest.fixture
def photographs(project: Any) -> Path:
    """Five files of which four are images, one of them damaged, and two have the same stem."""
    folder = Path(project.root) / "in"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "sub/b.png", "sub/b.bmp")):
        Image.fromarray(picture(seed, 20 + seed, 24)).save(folder / name)
    (folder / "damaged.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def command(project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `scn restore` of in/ into out/; returns its status and both outputs."""

    def run(*more: str, target: str = "out", model: str = "dn-s25") -> tuple[int, str, str]:
        urls = [f"file://{project.root}/{name}" for name in ("in", target)]
        fixed = ["scn", "restore", *urls, "--model", model, "--params", str(project.root / "params.yaml"), *more]
        monkeypatch.setattr("sys.argv", fixed)
        with pytest.raises(SystemExit) as end:
            scn.cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def results(project: Any) -> dict[str, bytes]:
    folder = project.root / "out"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.suffix == ".png"
    }


def levels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)), np.int16)


def check(project: Any, photographs: Path) -> None:
    """All images but the damaged one are restored and recorded."""
    found, model = results(project), load("dn-s25", "cpu", params_file=project.root / "params.yaml")
    assert set(found) == {"a.png", "sub/b.png.png", "sub/b.bmp.png"}
    expected = model.restore(picture(0, 20, 24))
    assert np.abs(np.asarray(Image.open(project.root / "out" / "a.png")).astype(int) - expected).max() <= 1
    records = {each["source"]: each for each in json.loads((project.root / "out/manifest.json").read_bytes())["images"]}
    assert set(records) == {"a.png", "sub/b.png", "sub/b.bmp"}
    for source, record in records.items():
        assert record["source_sha256"] == hashlib.sha256((photographs / source).read_bytes()).hexdigest()
        assert record["result_sha256"] == hashlib.sha256(found[record["result"]]).hexdigest()
        assert record["by"] == "dn-s25@v1"


def test_a_store_is_restored_into_another(project: Any, photographs: Path, command: Any) -> None:
    status, out, err = command()
    assert (status, out) == (
        1,
        f"3 images restored by dn-s25@v1, in file://{project.root}/out; 1 not; manifest.json there names all\n",
    )
    assert "damaged.png is damaged and can't be read" in err
    check(project, photographs)
    (photographs / "damaged.png").unlink()
    first = results(project)
    status, out, _ = command()
    assert (status, "0 images restored" in out, "3 already there" in out) == (0, True, True)
    assert results(project) == first


def test_what_a_kill_left_is_finished(
    project: Any, photographs: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "damaged.png").unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(restore_stores, "_put_record", killed)  # the result is there, its record is not
        status, out, _ = command()
    assert status == 130
    assert out.startswith("0 images restored by dn-s25@v1")
    assert out.endswith("; manifest.json there names all; stopped; the same command goes on\n")
    assert len(results(project)) == 1
    assert command()[0] == 0
    check(project, photographs)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses in which a store was waited for; each passes at once, by the clock that the code reads."""
    made: list[float] = []
    monkeypatch.setattr(patience, "rest", lambda seconds, _: made.append(seconds) or True)
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(made))
    return made


def test_a_store_that_is_gone_is_waited_for_once(
    project: Any, photographs: Path, command: Any, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    (photographs / "damaged.png").unlink()
    tried = set()

    def full(_: FileStore, key: str, content: object) -> bool:
        tried.add(key)
        raise StoreError(f"{key} can't be used (No space left on device): check the disk.")

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "_create", full)
        status, out, err = command()
    assert (status, tried, sum(pauses)) == (1, {"a.png"}, 600)
    assert out.endswith("/out; stopped, as a store fails; the same command goes on when it answers\n")
    assert err.endswith("scn: a.png can't be used (No space left on device): check the disk.\n")
    assert not (project.root / "out/manifest.json").exists()
    assert command()[0] == 0
    check(project, photographs)


@pytest.mark.parametrize("gone", [False, True])
def test_an_image_that_a_store_refuses_stops_no_other_unless_the_store_is_gone(
    project: Any, photographs: Path, command: Any, monkeypatch: pytest.MonkeyPatch, pauses: list[float], gone: bool
) -> None:
    """As S3 refuses one that was moved into an archive."""
    (photographs / "damaged.png").rename(photographs / "a-archived.png")
    read, usable, tried = FileStore._read, FileStore.check, set()

    def refuses(store: FileStore, key: str, file: IO[bytes]) -> None:
        if store.url.endswith("/in"):
            tried.add(key)
            if gone or key == "a-archived.png":
                raise StoreError(f"http://me:secret@host refused {key}: check the keys.")
        read(store, key, file)

    def reachable(store: FileStore, write: bool = True) -> None:
        if gone and store.url.endswith("/in"):
            raise StoreError("No answer from http://me:secret@host: start the service.")
        usable(store, write)

    monkeypatch.setattr(FileStore, "_read", refuses)
    monkeypatch.setattr(FileStore, "check", reachable)
    status, out, err = command()
    assert (status, sum(pauses)) == (1, 600)
    if gone:
        assert (tried, "; stopped, as a store fails;" in out) == ({"a-archived.png"}, True)
        assert err.endswith("scn: No answer from http://***@host: start the service.\n")
    else:
        assert "scn: http://***@host refused a-archived.png: check the keys.\n" in err
        check(project, photographs)


@pytest.mark.usefixtures("photographs")
def test_a_wait_for_a_store_that_is_stopped_begins_no_other(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def fails(*_: object) -> bool:
        raise StoreError("No answer: start the service.")

    def stop(*_: object) -> bool:
        waits.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(FileStore, "_create", fails)
    monkeypatch.setattr(FileStore, "swap_pointer", fails)
    monkeypatch.setattr(patience, "rest", stop)
    status, out, _ = command()
    assert (status, len(waits)) == (130, 1)
    assert out.endswith("/out; stopped; the same command goes on\n")


def test_an_actor_hands_on_that_a_store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise StoreError("No answer: start the service.")

    monkeypatch.setattr(restore_stores, "restore_one", fails)
    actor = object.__new__(restore_stores._Actor)  # without Ray
    actor.refused, actor.work, actor.models = None, None, None  # type: ignore[assignment]
    [result] = actor([("a.png", "a.png")])
    assert isinstance(result, StoreError)


def test_a_name_that_no_object_can_have_stops_no_other_image(
    project: Any, photographs: Path, command: Any, pauses: list[float]
) -> None:
    (photographs / "damaged.png").rename(photographs / "back\\slash.png")
    status, _, err = command()
    assert (status, "'back\\slash.png' can't name an object" in err, pauses) == (1, True, [])
    check(project, photographs)


def test_results_of_another_model_are_not_mixed(project: Any, photographs: Path, command: Any) -> None:
    (photographs / "damaged.png").unlink()
    assert command()[0] == 0
    refusal = "was made by another model or with other options: name another place"
    status, _, err = command("--strength", "0.5")
    assert (status, refusal in err) == (1, True)
    project.add_model("dn-s25", 1)
    project.add_metrics("dn-s25", 40.0)
    publish(project.params, "dn-s25")
    status, _, err = command()  # of the same name, and other weights
    assert (status, refusal in err) == (1, True)


def test_a_result_that_was_deleted_is_restored_again_with_any_options(
    project: Any, photographs: Path, command: Any
) -> None:
    (photographs / "damaged.png").unlink()
    assert command("--strength", "0.5")[0] == 0
    for name in results(project):
        (project.root / "out" / name).unlink()
    assert command()[0] == 0
    check(project, photographs)
    (project.root / "out/a.png").unlink()
    status, out, _ = command()
    assert (status, "1 image restored" in out, "2 already there" in out) == (0, True, True)
    check(project, photographs)


def test_what_is_no_record_is_passed_over_or_named_before_anything_is_restored(
    project: Any, photographs: Path, command: Any
) -> None:
    (photographs / "damaged.png").unlink()
    records = project.root / "out/manifest"
    records.mkdir(parents=True)
    (records / "a.png.json").write_text('{"source": "a.png"}')
    status, _, err = command()
    assert (status, results(project)) == (1, {})
    assert err.endswith("/out/manifest/a.png.json is no record of a result: move it to another place.\n")
    (records / "a.png.json").rename(records / "z.png.json")  # of another image: read when all is done
    status, out, err = command()
    assert (status, "; manifest.json there is not written" in out, "z.png.json is no rec" in err) == (1, True, True)
    (records / "z.png.json").rename(records / "notes.json")
    assert command()[0] == 0
    check(project, photographs)


def test_records_of_other_images_are_read_for_the_manifest_alone(
    project: Any, photographs: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "damaged.png").unlink()
    assert command()[0] == 0
    (photographs / "a.png").rename(photographs / "c.png")
    read, reads = FileStore._read, list[str]()
    monkeypatch.setattr(FileStore, "_read", lambda self, key, file: (reads.append(key), read(self, key, file))[1])
    status, out, _ = command()
    assert (status, "1 image restored" in out, "2 already there" in out) == (0, True, True)
    assert (reads.count("manifest/a.png.json"), reads.count("manifest/sub/b.png.png.json")) == (1, 2)


def test_the_manifest_of_two_commands_names_what_both_have_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = FileStore(tmp_path), FileStore(tmp_path)
    for name in "ab":
        one.put(f"manifest/{name}.png.json", json.dumps({"result": f"{name}.png", "settings": {}}).encode())

    def overtaken(prefix: str) -> list[str]:
        monkeypatch.undo()
        keys = one.list(prefix)
        other.put("manifest/c.png.json", b'{"result": "c.png", "settings": {}}')
        restore_stores.write_manifest(other)
        return keys

    monkeypatch.setattr(one, "list", overtaken)
    restore_stores.write_manifest(one)
    names = [each["result"] for each in json.loads(one.get("manifest.json"))["images"]]
    assert names == ["a.png", "b.png", "c.png"]


def test_results_below_the_images_are_not_restored(project: Any, photographs: Path, command: Any) -> None:
    (photographs / "damaged.png").unlink()
    assert command(target="in/out")[0] == 0
    status, out, _ = command(target="in/out")
    assert (status, out.startswith("0 images restored"), "3 already there" in out) == (0, True, True)


@pytest.mark.parametrize("name", [".a.png", ".thumbnails/a.png"])
def test_hidden_images_are_left_alone(project: Any, photographs: Path, command: Any, name: str) -> None:
    (photographs / "damaged.png").rename(photographs / "notes.txt")
    (photographs / name).parent.mkdir(exist_ok=True)
    (photographs / name).write_bytes((photographs / "a.png").read_bytes())
    assert command()[0] == 0
    check(project, photographs)


def test_two_results_of_one_name_are_told_before_anything_is_restored(
    project: Any, photographs: Path, command: Any
) -> None:
    for name in ("c.jpg", "c.png", "c.jpg.png"):
        (photographs / name).write_bytes((photographs / "a.png").read_bytes())
    status, _, err = command()
    assert (status, results(project)) == (1, {})
    assert "scn: c.jpg and c.jpg.png would both become c.jpg.png: give one of them another name." in err


def test_no_result_lies_among_the_records(project: Any, photographs: Path, command: Any) -> None:
    (photographs / "manifest").mkdir()
    (photographs / "a.png").rename(photographs / "manifest/a.png")
    status, _, err = command()
    assert (status, results(project)) == (1, {})
    assert "manifest/a.png would become manifest/a.png, among the records of results: put it into" in err


def test_nothing_to_restore_is_recorded_too(project: Any, photographs: Path, command: Any) -> None:
    for path in photographs.rglob("*.*"):
        path.unlink()
    Image.fromarray(np.full((64, 64), 99, np.uint8)).save(photographs / "flat.png")
    status, out, err = command(model="auto")
    assert (status, "nothing to restore in 1" in out, "flat.png: no JPEG artifacts" in err) == (0, True, True)
    status, out, _ = command(model="auto")
    assert (status, "1 already there" in out) == (0, True)
    assert results(project) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["file://in", "out", "--model", "dn-s25"], "Of stores name two"),
        (["in", "out", "--model", "dn-s25", "--ray"], "--ray restores the images of a store"),
        (["file://in", "file://out", "--model", "dn-s25", "--overwrite"], "nothing is overwritten there"),
        (["file://nothing", "file://out", "--model", "dn-s25"], "file://nothing holds no images"),
    ],
)
def test_mistakes_are_one_sentence(
    project: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("sys.argv", ["scn", "restore", *arguments])
    with pytest.raises(SystemExit, match="1"):
        scn.cli.main()
    assert words in capsys.readouterr().err


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    stop_ray()
    start_ray(2, show_logs=False)
    yield
    stop_ray()


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("cluster")
def test_a_cluster_gives_the_same(
    project: Any, photographs: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(restore_stores, "restore_here", lambda *_: pytest.fail("it was restored in this process"))
        status, out, err = command("--ray")
    assert (status, "3 images restored by dn-s25@v1" in out, "damaged.png is damaged" in err) == (1, True, True)
    check(project, photographs)
    on_cluster = results(project)
    for name in on_cluster:
        (project.root / "out" / name).unlink()
        (project.root / "out/manifest" / f"{name}.json").unlink()
    monkeypatch.setattr(restore_stores, "restore_on_ray", lambda *_: pytest.fail("it was restored on the cluster"))
    command()
    here = results(project)
    assert here.keys() == on_cluster.keys()
    for name, data in here.items():  # within the rounding of as many threads
        assert np.abs(levels(data) - levels(on_cluster[name])).max() <= 1
