"""All shards of an experiment: equal, complete, the same whatever the order, and resumed after a kill."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from files_found import files_found
from photo_folder import SIZES, picture, write_photos
from PIL import Image

from data_prep.packing import EQUAL
from data_prep.prepare import make_manifests
from data_prep.shards import ShardJob, ShardMade, make_shard
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.corpora.images import PALETTE, ROTATED
from scn.shards.manifest import Manifests, load_manifest
from scn.shards.pipeline import read_samples
from scn.storage import open_store
from scn.storage.local import FileStore

Configure = Callable[..., None]


def made(experiment: str = "sr-x2", **options: object) -> Manifests:
    return make_manifests(load_params(), experiment, **{"workers": 0, **options})[0]


def reused(experiment: str = "sr-x2", **options: object) -> int:
    return make_manifests(load_params(), experiment, **{"workers": 0, **options})[1]


def tars(folder: str = ".scn/store") -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in files_found(Path(folder), "*.tar")}


def test_the_manifest_says_what_is_there_and_how_it_was_made(project: Path, configure: Configure) -> None:
    configure("data", sub_image=24, stride=12, png_level=4, min_shards=4)
    manifest = made("sr-x2")

    for one in manifest:
        assert (one.experiment, one.task, one.level) == ("sr-x2", "sr", 2)
        assert one.made_with["pil"].startswith("pillow")
        assert one.made_with["codec"] == "npy 1.0"
        assert one == type(one).model_validate_json(one.dumps())
    assert (manifest.train.images, manifest.evaluation.sets["tests"].images) == (5, 2)
    assert manifest.evaluation.sets["tests"].samples == 2
    assert manifest.train.samples == sum(shard.samples for shard in manifest.train.shards) > 20
    assert manifest.train.parameters == {
        **{"sub_image": 24, "stride": 12, "levels": [2], "edges": "mirror", "encoding": "npy", "png_level": 4},
        **{"shard_mib": 128, "unusable": "stop", "overlap": "stop", "min_shards": 4},
    }
    assert manifest.evaluation.parameters == {"edges": "mirror", "encoding": "npy", "levels": [2]}
    store = open_store("file://.scn/store")
    assert {shard.key for shard in manifest.shards()} == {key for key in store.list("shards") if key.endswith(".tar")}
    for shard in manifest.shards():
        assert store.holds(shard.key, sha256=shard.sha256, size=shard.bytes)
        assert shard.key.split("/")[1:3] == ["sr", shard.sha256[:32]]
    assert isinstance(manifest, Manifests)


@pytest.mark.parametrize("encoding", ["npy", "png"])
def test_shards_are_equal_and_enough_for_all_readers(project: Path, configure: Configure, encoding: str) -> None:
    for seed in range(6):
        Image.fromarray(picture(seed, 90 + 20 * seed, 200 - 17 * seed)).save(f"photos/z{seed}.png")
    configure("data", sub_image=24, stride=12, encoding=encoding)
    configure("data", min_shards=3)
    shards = made("sr-x2").train.shards
    assert len(shards) == 3
    assert max(s.bytes for s in shards) <= EQUAL * min(s.bytes for s in shards)


def test_too_few_images_for_the_readers_are_named(project: Path, configure: Configure) -> None:
    configure("data", min_shards=6)
    with pytest.raises(UserError, match=r"sr-x2 has 5 training images .* but data.min_shards asks for 6 shards"):
        made("sr-x2")


def test_bytes_do_not_depend_on_the_file_system(project: Path) -> None:
    first = made("sr-x2", store_url="file://one")
    shutil.rmtree("photos")
    write_photos(Path("photos"), sorted(SIZES, reverse=True))
    assert made("sr-x2", store_url="file://two") == first


def test_the_data_are_the_same_however_they_are_stored(project: Path, configure: Configure) -> None:
    first = made("sr-x2")
    for section, values in (
        ("data", {"sub_image": 24, "stride": 12}),
        ("data", {"encoding": "png"}),
        ("data", {"min_shards": 4}),
    ):
        configure(section, **values)
        other = made("sr-x2")
        assert (other.train.order == first.train.order) == ("min_shards" not in values)
        assert other.train.shards != first.train.shards
        assert [m.sha256 for m in other] == [m.sha256 for m in first]
    configure("data", edges="replicate")
    repeated = made("sr-x2")
    assert all(m.sha256 not in {f.sha256 for f in first} for m in repeated)
    configure("data", edges="mirror")
    write_photos(Path("photos"), ["e.png"])
    Image.fromarray(255 - np.asarray(Image.open("photos/e.png"))).save("photos/e.png")
    assert made("sr-x2").train.sha256 != first.train.sha256


def test_shards_go_to_either_kind_of_store(project: Path, store_url: str) -> None:
    manifest = made("dn-s25", store_url=store_url)
    keys = [shard.key for shard in manifest.shards()]
    assert [key for key in open_store(store_url).list("shards/dn") if key.endswith(".tar")] == sorted(keys)
    assert reused("dn-s25", store_url=store_url) == len(keys) == 2


def test_a_shard_that_is_in_the_store_is_neither_made_nor_written_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = made("sr-x2")
    before = tars()
    monkeypatch.setattr("data_prep.shards.decode", lambda data, path: pytest.fail("decoded again"))
    assert made("sr-x2") == manifest
    assert tars() == before


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")])
def test_a_shard_that_is_gone_or_damaged_is_made_again(project: Path, configure: Configure, spoil: object) -> None:
    configure("data", min_shards=2)
    manifest = made("sr-x2")
    shard = manifest.train.shards[0]
    path = Path(".scn/store", shard.key)
    before = tars()
    spoil(path)
    assert make_manifests(load_params(), "sr-x2", workers=0) == (manifest, 2)
    assert open_store("file://.scn/store").holds(shard.key, sha256=shard.sha256, size=shard.bytes)
    assert {p: t for p, t in tars().items() if p != path} == {p: t for p, t in before.items() if p != path}


def test_a_shard_that_is_deleted_after_it_was_taken_over_is_made_again(
    project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("data", min_shards=3)
    manifest = made("dn-s25")
    first = Path(".scn/store", manifest.train.shards[0].key)

    def collected(job: ShardJob) -> tuple[ShardMade, bool]:
        if not job.spec.training:  # the last job
            first.unlink(missing_ok=True)
        return make_shard(job)

    monkeypatch.setattr("data_prep.prepare.make_shard", collected)
    assert make_manifests(load_params(), "dn-s25", workers=0) == (manifest, len(list(manifest.shards())) - 1)
    assert all(open_store("file://.scn/store").exists(shard.key) for shard in manifest.shards())


def test_the_store_is_asked_once_whether_the_shards_are_still_there(
    project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("data", min_shards=3)
    shards = list(made("dn-s25").shards())
    monkeypatch.setattr(FileStore, "exists", lambda _, key: pytest.fail(f"{key} is asked for by itself"))
    assert reused("dn-s25") == len(shards) > 3


@pytest.mark.integration
def test_a_run_that_is_killed_is_finished_by_the_next(project: Path, configure: Configure) -> None:
    """SIGKILL after one, four and seven shards, the last time with Ray; what was stored is not made again."""
    for seed in range(12):
        Image.fromarray(picture(seed, 300, 400)).save(f"photos/y{seed:02}.png")
    configure("data", min_shards=10)
    whole = made("sr-x2", store_url="file://elsewhere")
    program = str(Path(sys.executable).parent / "data-prep")
    command = [program, "shard", "--experiment", "sr-x2", "--out", "out", "--workers"]
    stored = set[Path]()
    for least, workers in ((1, "0"), (4, "0"), (7, "2")):  # Ray takes seconds to start
        with Path("log").open("w") as log:
            process = subprocess.Popen([*command, workers], stdout=log, stderr=log, start_new_session=True)
        while len(tars()) < least:
            assert process.poll() is None or len(tars()) >= least, Path("log").read_text()
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not Path("out").exists() or len(tars()) == 11
        assert stored <= set(tars())
        stored = set(tars())
    before = tars()
    done = subprocess.run([*command, "2"], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert load_manifest("out/train.json") == whole.train
    assert load_manifest("out/evaluation.json") == whole.evaluation
    assert {path: tars()[path] for path in before} == before
    assert "were there already" in done.stdout


def test_conversions_are_counted(project: Path) -> None:
    Image.open("photos/a.png").quantize(32).save("photos/a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: 36x60 becomes 60x36
    Image.open("photos/e.png").save("photos/e.png", exif=exif)
    manifest = made("sr-x2")
    assert manifest.train.converted == {PALETTE: 1, ROTATED: 1}
    assert manifest.evaluation.sets["tests"].converted == {}
    samples = {s.name: s for s in read_samples(open_store("file://.scn/store"), manifest.train.shards, "sr-x2", 2)}
    assert samples["e.png"].hr.shape == (60, 36, 3)


def spoil_photos() -> dict[str, str]:
    """Spoils three images so that they can't be used; returns image -> what the manifest says of it."""
    path = Path("photos/a.png")
    path.write_bytes(path.read_bytes()[:-300])
    Image.new("RGB", (99, 9)).save("photos/b.png")
    Image.new("RGBA", (99, 99)).save("photos/f.png")
    return {
        "photos/a.png": "a.png is damaged",
        "photos/b.png": "b.png is 99x9 pixels, too small",
        "photos/f.png": "f.png has ",
    }


def test_training_images_that_cannot_be_used_are_left_out_where_that_is_asked_for(
    project: Path, configure: Configure
) -> None:
    expected = spoil_photos()
    with pytest.raises(UserError, match=r"photos/(b|f).png "):
        made("sr-x2")
    configure("data", unusable="skip")
    manifest = made("sr-x2")
    assert manifest.train.images == manifest.train.samples == 4
    assert sorted(manifest.train.refused) == sorted(expected)
    for name, sentence in expected.items():
        assert manifest.train.refused[name].startswith(sentence)
    names = [s.name for s in read_samples(open_store("file://.scn/store"), manifest.train.shards, "sr-x2", 2)]
    assert names == ["c.bmp", "e.png", "sub/b.png", "sub/d.PNG"]
    assert made("sr-x2") == manifest
    Image.new("RGBA", (98, 99)).save("tests/f.png")
    with pytest.raises(UserError, match=r"tests/f.png has "):  # a figure on what is left would be another figure
        made("sr-x2")


@pytest.mark.parametrize("where", ["PIL.ImageFile.ImageFile.load", "data_prep.shards.degrade"])
def test_an_image_that_memory_does_not_suffice_for_is_named_and_not_left_out(
    project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def load(*given: object) -> None:
        raise MemoryError

    configure("data", unusable="skip")
    monkeypatch.setattr(where, load)
    told = r"^Memory does not suffice for the pixels of \S+\.png: end other programs, do less at once, or cut the image"
    with pytest.raises(UserError, match=told):
        made("sr-x2")


def test_all_images_whose_headers_tell_are_named_at_once(project: Path) -> None:
    for name in ("b", "y", "z"):
        Image.new("RGB", (99, 9)).save(f"photos/{name}.png")
    with pytest.raises(UserError, match=r"photos/b.png is .*\. 2 more can't be used: photos/y.png, photos/z.png\.$"):
        made("sr-x2")


def test_nothing_that_can_be_used_is_an_error(project: Path, configure: Configure) -> None:
    configure("data", unusable="skip")
    for path in Path("photos").rglob("*.*"):
        if path.suffix != ".txt":
            path.write_bytes(b"no image")
    with pytest.raises(UserError, match="No training image of sr-x2 can be used"):
        made("sr-x2")


def test_other_images_to_train_on(project: Path) -> None:
    assert list(made("dn-s25", images="photos/sub").train.corpora) == ["photos/sub"]
    shutil.copytree("photos/sub", "mine")
    manifest = made("dn-s25", images="mine")
    assert (list(manifest.train.corpora), manifest.train.images) == (["mine"], 2)
    assert manifest.train.parameters["train"] == ["mine"]


@pytest.mark.parametrize(("experiment", "size", "needed"), [("dn-s25", (15, 40), 16), ("sr-x4", (33, 31), 32)])
def test_images_that_are_too_small_are_named(project: Path, experiment: str, size: tuple, needed: int) -> None:
    Image.new("RGB", size).save("photos/b.png")
    expected = rf"b.png is {size[0]}x{size[1]} pixels, too small for {experiment}, which needs {needed}x{needed}"
    with pytest.raises(UserError, match=expected):
        made(experiment)


def test_the_size_that_is_asked_for_will_do(project: Path, configure: Configure) -> None:
    """Images are cropped to a multiple of 6 first."""
    configure("data", levels=[2, 3])
    configure("train", patch_size=13)
    Path("mine").mkdir()
    for side, told in ((23, "too small for sr-x2, which needs 24x24:"), (41, "smaller than the 42x42 that a patch")):
        Image.fromarray(picture(9, side, side)).save("mine/b.png")
        with pytest.raises(UserError, match=rf"mine/b.png is {side}x{side} pixels, {told}"):
            made("sr-x2", images="mine")
    Image.fromarray(picture(9, 42, 42)).save("mine/b.png")
    assert made("sr-x2", images="mine").train.images == 1
    configure("train", patch_size=8)
    Image.fromarray(picture(9, 24, 24)).save("mine/b.png")
    assert made("sr-x2", images="mine").train.images == 1


def test_an_image_that_is_longer_than_a_jpeg_is_named(project: Path, configure: Configure) -> None:
    Image.new("L", (70_000, 64)).save("photos/scan.png")
    told = "scan.png is 70000x64 pixels, and a JPEG's sides have 65500 at most: cut it up or take it out of the corpus."
    with pytest.raises(UserError, match=rf"^\S*photos/{told}$"):
        made("car-q10")
    configure("data", unusable="skip")
    assert made("car-q10").train.refused == {"photos/scan.png": told}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sub_image": 50, "stride": 24, "levels": [3]}, "data.sub_image of sr-x2: 50 is no multiple of the scale 3"),
        ({"sub_image": 48, "stride": 15}, "data.stride of sr-x2: 15 is no multiple of the scale 2"),
        ({"sub_image": 12, "stride": 6}, r"data.sub_image of sr-x2: 12 is smaller than a patch of 16 pixels"),
        ({"levels": [2, 99]}, r"data.levels of sr-x2: the scale of super-resolution lies in 2\.\.\d+, not 99"),
    ],
)
def test_sizes_that_do_not_fit_are_named(project: Path, configure: Configure, values: dict, expected: str) -> None:
    configure("data", **values)
    with pytest.raises(UserError, match=expected):
        made("sr-x2")


def test_a_corpus_named_twice_is_an_error(project: Path, configure: Configure) -> None:
    configure("data", train=["photos", "photos"])
    with pytest.raises(UserError, match=r"data.train of sr-x2 names photos twice"):
        made("sr-x2")


def test_training_on_what_is_measured_is_an_error(project: Path) -> None:
    with pytest.raises(UserError, match=r"  tests/one.png shows tests/one.png \(the same file\)"):
        made("sr-x2", images="tests")


def test_a_picture_in_both_sets_is_an_error_in_another_format_too(project: Path) -> None:
    Image.open("tests/one.png").save("photos/renamed.bmp")
    with pytest.raises(UserError, match=r"  photos/renamed.bmp shows tests/one.png \(the same pixels\)"):
        made("sr-x2")


def test_a_grey_picture_saved_in_colour_is_the_same_picture(project: Path) -> None:
    grey = Image.fromarray(picture(77, 50, 60, channels=1))
    grey.save("tests/grey.png")
    grey.convert("RGB").save("photos/colour.png")
    with pytest.raises(UserError, match=r"  photos/colour.png shows tests/grey.png \(the same pixels\)"):
        made("dn-s25")


def test_an_image_that_two_references_name_is_an_error(project: Path, configure: Configure) -> None:
    configure("data", train=["photos", "photos/sub"])
    with pytest.raises(UserError, match=r"has the image .*photos/sub/b.png twice, in photos and in photos/sub"):
        made("sr-x2")


def test_refused_images_of_one_name_are_told_apart(project: Path, configure: Configure) -> None:
    configure("corpora", local={"photos": "photos", "tests": "tests", "others": "others"})
    configure("data", train=["photos", "others"], unusable="skip")
    shutil.copytree("photos", "others")
    for folder in ("photos", "others"):
        Image.new("CMYK", (50, 50)).save(f"{folder}/bad.jpg")
    for path in Path("others").rglob("*.*"):
        if path.suffix in (".png", ".bmp", ".PNG"):
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert sorted(made("sr-x2").train.refused) == ["others/bad.jpg", "photos/bad.jpg"]
