"""The `data-prep` command: what it writes, what it says, and what it leaves behind when it fails."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

import data_prep.shards
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.corpora.hash_cache import stamp
from scn.shards.manifest import image_sets, load_manifest

Run = Callable[..., tuple[int, str, str]]
SHARD = ("shard", "--experiment", "sr-x2", "--out", "out", "--workers", "0")


def test_help_answers_without_the_heavy_packages() -> None:
    code = (
        "import sys; sys.argv = ['data-prep', '--help']\n"
        "from data_prep.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'ray', 'boto3', 'skimage', 'scipy', 'webdataset'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from data_prep import acquire, shards\nfrom scn.corpora import corpora, images\n"
        "assert not {'torch', 'ray', 'boto3', 'requests', 'skimage'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "download" in done.stdout
    assert "shard" in done.stdout
    assert "list" in done.stdout


def test_download_writes_the_index(project: Path, run_cli: Run) -> None:
    status, out, err = run_cli("download", "photos", "--index", "corpora/photos.json")
    assert (status, err) == (0, "")
    assert out == "photos: 5 images, 1 other files ignored; index in corpora/photos.json\n"
    assert len(json.loads(Path("corpora/photos.json").read_text())["images"]) == 5
    assert [path.name for path in Path("corpora").iterdir()] == ["photos.json"]


def test_download_names_what_cannot_be_used_and_takes_several(project: Path, run_cli: Run) -> None:
    Path("photos/b.jpg").write_text("text")
    status, out, err = run_cli("download", "photos", "tests")
    assert status == 0
    assert out.splitlines() == [
        "photos: 6 images, 1 of them can't be used, 1 other files ignored",
        "tests: 2 images",
    ]
    assert err.startswith("data-prep: ")
    assert "photos/b.jpg is no image" in err
    assert_refused(run_cli("download", "photos", "tests", "--index", "out/x.json"), "--index takes the index of one")


def test_an_index_is_written_on_this_machine(project: Path, run_cli: Run) -> None:
    status, out, err = run_cli("download", "photos", "--index", "s3://bucket/photos.json")
    assert (status, out) == (1, "")
    assert err == "data-prep: --index: s3://bucket/photos.json is no path on this machine: name a file here.\n"
    assert not Path("s3:").exists()


def test_check_ends_with_status_1_if_anything_is_wrong(project: Path, run_cli: Run) -> None:
    assert run_cli("check", "photos", "tests", "sample")[0] == 0
    spoil = Path("photos/b.jpg")
    spoil.write_text("text")
    status, out, err = run_cli("check", "photos", "tests", "DIV2K/train")
    assert status == 1
    assert out.splitlines() == [
        "photos: 6 images in photos, with nothing to compare the content with",
        "tests: 2 images in tests, with nothing to compare the content with",
    ]
    lines = err.splitlines()
    assert len(lines) == 3
    assert "photos/b.jpg is no image" in lines[0]
    assert "corpora/DIV2K/DIV2K_train_HR (800 images: 0001.png ... 0800.png)" in lines[1]
    assert lines[2] == "data-prep: 2 problems were found: see above for what to do."
    assert not Path("corpora").exists(), "check brings nothing"


def test_list_fits_120_columns(project: Path, run_cli: Run) -> None:
    status, out, err = run_cli("list")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert all(len(line) <= 120 for line in lines)
    words = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert words["photos"][1] == "5"
    assert words["DIV2K"][1:4] == ["900", "4.0", "GB"]
    assert words["sample"][-3:] == ["the", "package", "skimage"]


def test_the_catalogue_is_listed_in_any_folder(project: Path, run_cli: Run) -> None:
    Path("params.yaml").unlink()
    status, out, err = run_cli("list")
    assert (status, err) == (0, "")
    words = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert words["DIV2K"][1:4] == ["900", "4.0", "GB"]
    assert "photos" not in words
    assert_refused(run_cli("list", "--params", "other.yaml"), "other.yaml does not exist")


def test_the_catalogue_is_listed_where_a_corpus_is_named_wrongly(project: Path, run_cli: Run) -> None:
    written = Path("params.yaml").read_text()
    assert "train: photos" in written or "train: [photos]" in written
    Path("params.yaml").write_text(written.replace("train: photos", "train: fotos").replace("[photos]", "[fotos]"))
    status, out, err = run_cli("list")
    assert status == 1
    assert "fotos" in err
    assert any(line.split()[:2] == ["DIV2K", "900"] for line in out.splitlines() if line.strip())


def test_an_experiment_has_a_short_option(project: Path, run_cli: Run) -> None:
    assert_refused(run_cli("shard", "-e", "sr-x9", "--out", "shards/sr-x9"), "sr-x9")


@pytest.mark.parametrize("command", ["download", "check"])
def test_an_unknown_corpus_is_one_sentence(project: Path, run_cli: Run, command: str) -> None:
    assert_refused(run_cli(command, "Set6"), "params.yaml has no corpus 'Set6', nor has the catalogue: use one of")


def test_shard_on_a_corpus_that_is_not_here_names_the_command(project: Path, run_cli: Run) -> None:
    assert_refused(run_cli(*SHARD, "--images", "Set5"), "run `data-prep download Set5`")


def test_shard_writes_the_manifest_and_says_what_it_did(project: Path, run_cli: Run) -> None:
    Image.open("photos/a.png").quantize(32).save("photos/a.png")
    status, out, err = run_cli(*SHARD, "--store", "file://elsewhere")
    assert (status, err) == (0, "")
    manifests = [load_manifest(f"out/{name}.json") for name in ("train", "evaluation")]
    total = sum(shard.bytes for made in manifests for images in image_sets(made) for shard in images.shards)
    assert out.startswith("sr-x2: 7 images (1 conversions: see out) as 7 samples in 2 shards, ")
    assert f", {total} bytes, in file://{project}/elsewhere, " in out
    assert " s, with pillow" in out
    assert Path("elsewhere", image_sets(manifests[0])[0].shards[0].key).is_file()
    assert not Path(".scn/store").exists()


def spoil_empty_folder() -> None:
    shutil.rmtree("photos")
    Path("photos").mkdir()


def spoil_tail(name: str) -> None:
    path = Path("photos") / name
    path.write_bytes(path.read_bytes()[:-300])


SPOILT: dict[str, tuple[Callable[[], object], tuple[str, ...], str]] = {
    "empty folder": (spoil_empty_folder, (), "is empty"),
    "missing folder": (lambda: shutil.rmtree("tests"), (), "tests of the corpus 'tests' does not exist"),
    "no image": (lambda: Path("photos/b.jpg").write_text("text"), (), "photos/b.jpg is no image"),
    "truncated": (lambda: spoil_tail("a.png"), (), "photos/a.png is damaged"),
    "too small": (lambda: Image.new("RGB", (99, 9)).save("photos/z.png"), (), "photos/z.png is 99x9 pixels"),
    "alpha": (lambda: Image.new("RGBA", (99, 99)).save("photos/z.png"), (), "photos/z.png has an alpha channel"),
    "unknown experiment": (lambda: None, ("--experiment", "sr-x5"), "'sr-x5' is no known experiment"),
    "missing parameters": (lambda: Path("params.yaml").unlink(), (), "params.yaml does not exist"),
    "unknown images": (lambda: None, ("--images", "nowhere"), "'nowhere' is neither a folder nor a corpus"),
    "no storage URL": (lambda: None, ("--store", "/some/folder"), "'/some/folder' is no storage URL"),
    "unwritable manifest": (lambda: Path("out").write_text(""), (), "--out: out is no folder that can be written to"),
    "manifest on S3": (lambda: None, ("--out", "s3://bucket/m"), "--out: s3://bucket/m is no path on this machine"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_bad_input_gets_one_sentence_and_leaves_no_manifest(project: Path, run_cli: Run, what: str) -> None:
    spoil, arguments, expected = SPOILT[what]
    spoil()
    assert_refused(run_cli(*SHARD, *arguments), expected)
    assert "manifest" not in what or not Path(".scn/store").exists()
    assert not Path("s3:").exists()


def assert_refused(result: tuple[int, str, str], expected: str) -> None:
    status, out, err = result
    assert (status, out) == (1, "")
    assert err.startswith("data-prep: ")
    assert expected in err
    assert err.count("\n") == 1
    assert err.endswith(".\n")
    assert "Traceback" not in err
    assert not list(Path("out").glob("*")), "something was left behind"


def test_an_s3_service_that_does_not_answer(project: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert_refused(run_cli(*SHARD, "--store", "s3://bucket/prefix"), "http://127.0.0.1:9")


@pytest.mark.integration
@pytest.mark.usefixtures("s3_endpoint")
def test_a_bucket_that_does_not_exist(project: Path, run_cli: Run) -> None:
    assert_refused(run_cli(*SHARD, "--store", "s3://no-such-bucket/prefix"), "no-such-bucket")


@pytest.mark.integration
def test_the_console_command_with_ray_prints_one_sentence_only(project: Path) -> None:
    spoil_tail("e.png")
    command = [str(Path(sys.executable).parent / "data-prep"), *SHARD[:-2], "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert_refused((done.returncode, done.stdout, done.stderr), "photos/e.png is damaged")


@pytest.mark.integration
def test_the_console_command_with_ray_prints_one_line_only(project: Path) -> None:
    command = [str(Path(sys.executable).parent / "data-prep"), *SHARD[:-2], "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sr-x2: 7 images as 7 samples in 2 shards, ")
    assert done.stdout.count("\n") == 1


def test_an_interruption_leaves_the_old_manifest_or_none(
    project: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrade, calls = data_prep.shards.degrade, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 6:  # the first of the second shard
            raise KeyboardInterrupt
        return degrade(*arguments)

    monkeypatch.setattr(data_prep.shards, "degrade", interrupted)
    status, _, _ = run_cli(*SHARD)
    assert status != 0
    assert not Path("out").exists()
    whole = list(Path(".scn/store/shards").rglob("*.tar"))
    assert [path.name for path in whole] == ["000000.tar"]

    status, out, _ = run_cli(*SHARD)
    assert status == 0
    assert "in 2 shards, of which 1 were there already, " in out
    assert image_sets(load_manifest("out/train.json"))[0].images == 5


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file.json"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UserError, match=r"file.json can't be written \(No space left on device\)"):
        write_atomically(path, b"new")
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("file.json", "old")]


def test_look_lists_stamps_and_opens_nothing(project: Path, run_cli: Callable[..., tuple]) -> None:
    status, _, _ = run_cli("look", "photos", "--out", "photos.json")
    assert status == 0
    rows = json.loads(Path("photos.json").read_text())
    first = next(iter(rows))
    assert rows[first] == stamp((Path("photos") / first).stat())
    assert "notes.txt" not in rows
    (Path("photos") / "nowhere.png").symlink_to("/nothing/here.png")
    status, _, told = run_cli("look", "photos", "--out", "photos.json")
    assert (status, told.count("\n")) == (1, 1)
    assert "nowhere.png can't be read (No such file or directory): mend it or take it out of the corpus." in told
    status, _, told = run_cli("look", "photo", "--out", "photos.json")
    assert (status, told) == (
        1,
        "data-prep: params.yaml: corpora.local: 'photo' is no known corpus: did you mean 'photos'.\n",
    )


def test_look_sees_a_copy_of_the_same_size_and_time(project: Path, run_cli: Callable[..., tuple]) -> None:
    image = Path("photos/a.png")
    before = image.stat()
    Path("copy.png").write_bytes(image.read_bytes()[:-1] + b"!")
    os.utime("copy.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    listings = []
    for bring in (lambda: None, lambda: shutil.copy2("copy.png", image), lambda: Path("copy.png").replace(image)):
        bring()
        assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert run_cli("look", "photos", "--out", "photos.json")[0] == 0
        listings.append(Path("photos.json").read_text())
    assert len(set(listings)) == 3


def test_an_index_names_the_licence_that_the_catalogue_knows(project: Path, run_cli: Callable[..., tuple]) -> None:
    configure = yaml.safe_load(Path("params.yaml").read_text())
    configure["corpora"]["download"] = {"sample": "catalogue"}
    Path("params.yaml").write_text(yaml.safe_dump(configure))
    for corpus, licence in (("sample", "free, see skimage.data"), ("photos", None)):
        assert run_cli("download", corpus, "--index", f"{corpus}.json")[0] == 0
        assert json.loads(Path(f"{corpus}.json").read_text()).get("licence") == licence
