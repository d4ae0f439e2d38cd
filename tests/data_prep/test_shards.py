"""The shards: what is in them, and that nothing but their images and parameters decides their bytes."""

import gc
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from photo_folder import SIZES, write_photos
from PIL import Image

from data_prep.images import PALETTE, ROTATED
from data_prep.shards import make_manifest
from scn.cluster import stop_ray
from scn.config import load_params
from scn.degradation import bicubic_upscale, degrade, modcrop, to_channels
from scn.errors import UserError
from scn.manifest import Manifest, Shard
from scn.storage import open_store
from scn.tasks import TASKS


@pytest.fixture
def fresh_ray() -> Iterator[None]:
    stop_ray()
    yield
    stop_ray()


def made(experiment: str = "sr-x2", **options: object) -> Manifest:
    return make_manifest(load_params(), experiment, **{"workers": 0, **options})


def members(shard: Shard, url: str = "file://.scn/store") -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(open_store(url).get(shard.key))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


@pytest.mark.parametrize(
    ("experiment", "task", "level"), [("sr-x4", "sr", 4), ("dn-s25", "dn", 25), ("car-q10", "car", 10)]
)
def test_samples_are_the_degraded_images_in_order(project: Path, experiment: str, task: str, level: int) -> None:
    manifest = made(experiment)

    samples = {}
    for shard in manifest.train.shards:
        samples |= members(shard)
    order = sorted(SIZES)
    assert [json.loads(samples[f"{i:06d}.json"])["name"] for i in range(5)] == order
    for i, name in enumerate(order):
        pixels = np.asarray(Image.open(Path("photos") / name))
        scale = TASKS[task].scale(level)
        target = to_channels(modcrop(pixels, scale), TASKS[task].channels)
        np.testing.assert_array_equal(array(samples[f"{i:06d}.hr.npy"]), target)
        degraded = degrade(target, TASKS[task], level)
        if degraded is None:
            assert f"{i:06d}.lr.npy" not in samples
        else:
            np.testing.assert_array_equal(array(samples[f"{i:06d}.lr.npy"]), degraded)
    assert not any(name.endswith("up.npy") for name in samples)


def test_evaluation_sets_of_super_resolution_hold_the_bicubic_enlargement(project: Path) -> None:
    (shard,) = made("sr-x2").evaluation["tests"].shards
    samples = members(shard)
    assert sorted(samples) == [f"{i:06d}.{part}" for i in (0, 1) for part in ("hr.npy", "json", "lr.npy", "up.npy")]
    np.testing.assert_array_equal(array(samples["000001.up.npy"]), bicubic_upscale(array(samples["000001.lr.npy"]), 2))
    assert not any(name.endswith("up.npy") for name in members(made("car-q10").evaluation["tests"].shards[0]))


def test_the_manifest_counts_what_is_there(project: Path) -> None:
    manifest = made("sr-x2")

    assert (manifest.experiment, manifest.task, manifest.level) == ("sr-x2", "sr", 2)
    assert [shard.samples for shard in manifest.train.shards] == [2, 2, 1]
    assert (manifest.train.images, manifest.evaluation["tests"].images) == (5, 2)
    store = open_store("file://.scn/store")
    assert sorted(shard.key for shard in manifest.shards()) == sorted(store.list("shards"))
    for shard in manifest.shards():
        assert len(store.get(shard.key)) == shard.bytes
        assert shard.key.split("/")[2] == shard.sha256[:32]
    assert manifest == Manifest.model_validate_json(manifest.dumps())


def test_tar_headers_are_fixed(project: Path) -> None:
    data = open_store("file://.scn/store").get(made("sr-x2").train.shards[0].key)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        headers = {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname) for m in tar}
        assert tar.getnames() == sorted(tar.getnames())
    assert headers == {(0, 0o644, 0, 0, "", "")}


def test_bytes_do_not_depend_on_the_file_system(project: Path) -> None:
    first = made("sr-x2", store_url="file://one").dumps()
    shutil.rmtree("photos")
    write_photos(Path("photos"), sorted(SIZES, reverse=True))
    assert made("sr-x2", store_url="file://two").dumps() == first


@pytest.mark.integration
@pytest.mark.usefixtures("fresh_ray")
def test_bytes_do_not_depend_on_the_number_of_workers(project: Path) -> None:
    alone = made("sr-x2", store_url="file://store0")
    for workers in (1, 2):
        manifest = made("sr-x2", store_url=f"file://store{workers}", workers=workers)
        stop_ray()
        assert manifest.dumps() == alone.dumps()
        for shard in manifest.shards():
            key = shard.key
            assert open_store(f"file://store{workers}").get(key) == open_store("file://store0").get(key)


def test_shards_go_to_either_kind_of_store(project: Path, store_url: str) -> None:
    manifest = made("dn-s25", store_url=store_url)
    assert manifest == made("dn-s25", store_url=store_url)
    assert len(open_store(store_url).list("shards/dn-s25")) == len(list(manifest.shards())) == 4


def test_a_shard_that_is_in_the_store_is_not_written_again(project: Path) -> None:
    manifest = made("sr-x2")
    paths = {path: path.stat().st_mtime_ns for path in Path(".scn/store").rglob("*.tar")}
    assert made("sr-x2") == manifest
    assert {path: path.stat().st_mtime_ns for path in Path(".scn/store").rglob("*.tar")} == paths


def test_conversions_are_counted(project: Path) -> None:
    Image.open("photos/a.png").quantize(32).save("photos/a.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open("photos/e.png").save("photos/e.png", exif=exif)
    manifest = made("sr-x2")
    assert manifest.train.converted == {PALETTE: 1, ROTATED: 1}
    assert manifest.evaluation["tests"].converted == {}


def test_other_images_to_train_on(project: Path) -> None:
    assert list(made("dn-s25", images="photos/sub").train.corpora) == ["photos/sub"]
    shutil.copytree("photos/sub", "mine")
    manifest = made("dn-s25", images="mine")
    assert (list(manifest.train.corpora), manifest.train.images) == (["mine"], 2)


@pytest.mark.parametrize(("experiment", "size", "needed"), [("dn-s25", (15, 40), 16), ("sr-x4", (33, 31), 32)])
def test_images_that_are_too_small_are_named(project: Path, experiment: str, size: tuple, needed: int) -> None:
    Image.new("RGB", size).save("photos/b.png")
    expected = rf"b.png is {size[0]}x{size[1]} pixels, too small for {experiment}, which needs {needed}x{needed}"
    with pytest.raises(UserError, match=expected):
        made(experiment)


def test_a_corpus_named_twice_is_an_error(project: Path) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("[photos]", "[photos, photos]"))
    with pytest.raises(UserError, match=r"data.train of sr-x2 names photos twice"):
        made("sr-x2")


def test_training_on_what_is_measured_is_an_error(project: Path) -> None:
    with pytest.raises(UserError, match=r"is the evaluation image one.png of tests"):
        made("sr-x2", images="tests")


# webdataset leaves the files it reads to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(project: Path) -> None:
    """They are ordinary WebDataset shards: members of a sample side by side, one key each."""
    import webdataset

    shards = made("sr-x2").train.shards
    files = [str(Path(".scn/store", shard.key)) for shard in shards]
    samples = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [f"{i:06d}" for i in range(len(SIZES))]
    assert all({"hr.npy", "lr.npy", "json"} <= set(sample) for sample in samples)
    np.testing.assert_array_equal(array(samples[1]["lr.npy"]), array(members(shards[0])["000001.lr.npy"]))
    del samples
    gc.collect()


def test_a_grey_photograph_is_trained_on_in_rgb_and_measured_in_grey(project: Path) -> None:
    Image.fromarray(np.asarray(Image.open("photos/c.bmp"))[::-1]).save("tests/grey.bmp")  # no image may be in both
    manifest = made("sr-x2")
    train = {k: v for shard in manifest.train.shards for k, v in members(shard).items()}
    evaluation = {k: v for shard in manifest.evaluation["tests"].shards for k, v in members(shard).items()}
    assert array(train["000001.hr.npy"]).shape == (64, 32, 3)
    assert array(evaluation["000000.hr.npy"]).shape == (64, 32)
    assert array(evaluation["000000.up.npy"]).shape == (64, 32)


def test_a_picture_in_both_sets_is_found_in_another_format_too(project: Path) -> None:
    Image.open("photos/a.png").save("tests/z.bmp")
    with pytest.raises(UserError, match=r"training image a\.png has the pixels of the evaluation image z\.bmp"):
        made("sr-x2")


def test_a_training_image_smaller_than_a_patch_is_named(project: Path) -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("patch: 8", "patch: 20"))
    with pytest.raises(UserError, match=r"c\.bmp is 33x64 pixels, smaller than a patch of 40x40: take it out"):
        made("sr-x2")
    assert made("dn-s25").train.images == 5  # there a patch is 20x20


def test_a_damaged_shard_is_mended(project: Path) -> None:
    shard = made("sr-x2").train.shards[0]
    path = Path(".scn/store", shard.key)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    made("sr-x2")
    assert path.read_bytes() == whole


def test_hidden_files_are_no_images(project: Path) -> None:
    Path("photos/._a.png").write_bytes(b"a system's notes")
    assert made("sr-x2").train.images == 5
