"""One shard: what is in it, and that nothing but its images and parameters decides its bytes."""

import gc
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_prep.shards
from data_prep.prepare import make_manifests
from data_prep.shards import ShardSpec, make_shard
from scn.config.params import DataConfig, load_params
from scn.imaging.degradation import bicubic_upscale, degrade, modcrop, to_channels
from scn.imaging.tasks import TASKS
from scn.shards.manifest import Manifests, Shard
from scn.shards.pipeline import read_samples
from scn.shards.samples import Sample
from scn.storage import open_store

STORE = "file://.scn/store"
NAMES = ["a.png", "c.bmp", "e.png", "sub/b.png", "sub/d.PNG"]
Configure = Callable[..., None]


def made(experiment: str = "sr-x2", **options: object) -> Manifests:
    return make_manifests(load_params(), experiment, **{"workers": 0, **options})[0]


def members(shard: Shard, url: str = STORE) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(open_store(url).get(shard.key))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(Path("photos") / name))


@pytest.mark.parametrize(
    ("experiment", "task", "level"), [("sr-x4", "sr", 4), ("dn-s25", "dn", 25), ("car-q10", "car", 10)]
)
def test_samples_are_the_degraded_images_in_order(project: Path, experiment: str, task: str, level: int) -> None:
    samples = list(read_samples(open_store(STORE), made(experiment).train.shards, experiment, level))
    assert [sample.name for sample in samples] == NAMES
    for sample in samples:
        target = to_channels(modcrop(pixels(sample.name), TASKS[task].scale(level)), TASKS[task].channels)
        np.testing.assert_array_equal(sample.hr, target)
        degraded = degrade(target, TASKS[task], level)
        if degraded is None:
            assert sample.lr is None
        else:
            np.testing.assert_array_equal(sample.lr, degraded)
        assert sample.up is None
        assert (sample.about.parts, sample.about.height, sample.about.width) == (1, *target.shape[:2])


def test_evaluation_sets_of_super_resolution_hold_the_bicubic_enlargement(project: Path) -> None:
    (shard,) = made("sr-x2").evaluation.sets["tests"].shards
    parts = ("hr.npy", "json", "lr2.npy", "up.npy")
    assert sorted(members(shard)) == [f"{i:08d}-0000.{part}" for i in (0, 1) for part in parts]
    for sample in read_samples(open_store(STORE), [shard], "sr-x2", 2):
        np.testing.assert_array_equal(sample.up, bicubic_upscale(sample.lr, 2))
    assert not any(name.endswith("up.npy") for name in members(made("car-q10").evaluation.sets["tests"].shards[0]))


def pasted(parts: list[Sample]) -> dict[str, tuple[np.ndarray, ...]]:
    """Puts images together from their sub-images: name -> target and, where there is one, degraded image."""
    whole: dict[str, tuple[np.ndarray, ...]] = {}
    for part in parts:
        about, images = part.about, [image for image in (part.hr, part.lr) if image is not None]
        scales = [part.hr.shape[0] // image.shape[0] for image in images]
        if about.name not in whole:
            sizes = [(about.height // scale, about.width // scale) for scale in scales]
            whole[about.name] = tuple(
                np.zeros((*size, *image.shape[2:]), np.uint8) for size, image in zip(sizes, images, strict=True)
            )
        for canvas, image, scale in zip(whole[about.name], images, scales, strict=True):
            top, left = about.top // scale, about.left // scale
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return whole


@pytest.mark.parametrize("experiment", ["sr-x2", "dn-s25"])
@pytest.mark.parametrize("encoding", ["npy", "png"])
def test_sub_images_lie_side_by_side_and_make_the_whole(
    project: Path, configure: Configure, experiment: str, encoding: str
) -> None:
    configure("data", sub_image=24, stride=12, encoding=encoding)
    level = load_params().experiment(experiment).level
    shards = made(experiment).train.shards
    parts = list(read_samples(open_store(STORE), shards, experiment, level))
    first = [sample.about for sample in parts if sample.name == "a.png"]  # 41x52 pixels
    assert [(about.top, about.left) for about in first] == [(y, x) for y in (0, 12) for x in (0, 12, 24)]
    sizes = {sample.hr.shape[:2] for sample in parts if sample.name == "sub/b.png"}  # 40x40: the last ones are wider
    assert sizes == {(24, 24), (24, 28), (28, 24), (28, 28)}
    cut = pasted(parts)

    configure("data", sub_image=0)
    whole = list(read_samples(open_store(STORE), made(experiment).train.shards, experiment, level))
    assert len(parts) > 3 * len(whole) == 3 * len(cut)
    assert [sample.name for sample in whole] == list(cut) == NAMES
    for sample in whole:
        np.testing.assert_array_equal(cut[sample.name][0], sample.hr)
        if experiment == "sr-x2":
            np.testing.assert_array_equal(cut[sample.name][1], sample.lr)


def test_a_shard_knows_its_images_and_their_sizes(project: Path, configure: Configure) -> None:
    configure("data", sub_image=24, stride=12)
    configure("data", min_shards=7)  # more shards than images: some images lie in two
    manifest = made("sr-x2")
    assert len(manifest.train.shards) >= 7
    held = list[int]()
    for shard in manifest.train.shards:
        samples = list(read_samples(open_store(STORE), [shard], "sr-x2", 2))
        assert shard.images == {s.about.index: (s.about.height, s.about.width) for s in samples}
        held += shard.images
    assert set(held) == set(range(5))
    assert len(held) > 5
    (shard,) = manifest.evaluation.sets["tests"].shards
    assert shard.images == {0: (44, 38), 1: (44, 38)}


def test_levels_of_a_task_can_share_their_originals(project: Path, configure: Configure) -> None:
    Path("photos/c.bmp").unlink()  # too small for x4
    configure("data", levels=[2, 3, 4])
    first, second = made("sr-x2"), made("sr-x4")
    assert first.train.shards == second.train.shards
    assert first.train.sha256 != second.train.sha256
    (shard,) = first.train.shards
    assert {name.partition(".")[2] for name in members(shard)} == {
        *("hr.npy", "json", "lr2.npy", "lr3.npy", "lr4.npy"),
    }
    for level in (2, 3, 4):
        for sample in read_samples(open_store(STORE), [shard], f"sr-x{level}", level):
            target = to_channels(modcrop(pixels(sample.name), 12), "rgb")
            np.testing.assert_array_equal(sample.hr, target)
            np.testing.assert_array_equal(sample.lr, degrade(target, TASKS["sr"], level))
    assert [*first.evaluation.sets["tests"].shards] != [*second.evaluation.sets["tests"].shards]


def test_noise_of_any_level_has_the_same_shards(project: Path, configure: Configure) -> None:
    configure("experiments", **{"dn-s50": {"task": "dn", "level": 50}})
    first, second = made("dn-s25"), made("dn-s50")
    assert list(first.shards()) == list(second.shards())


def test_tar_headers_are_fixed(project: Path) -> None:
    data = open_store(STORE).get(made("sr-x2").train.shards[0].key)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        headers = {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname) for m in tar}
        assert tar.getnames() == sorted(tar.getnames())
    assert headers == {(0, 0o644, 0, 0, "", "")}
    assert len(data) % tarfile.RECORDSIZE == 0
    assert data.endswith(bytes(2 * tarfile.BLOCKSIZE))


def test_what_decides_the_bytes_is_in_the_identity(project: Path) -> None:
    data = load_params().experiment("sr-x2").data
    spec = ShardSpec(task_name="sr", levels=(2,), training=True, data=data)

    def identity(**changes: object) -> str:
        return json.dumps(ShardSpec(**{**vars(spec), **changes}).identity(), sort_keys=True)

    def with_data(**changes: object) -> str:
        return identity(data=DataConfig.model_validate({**data.model_dump(), **changes}))

    different = [
        identity(),
        identity(levels=(2, 3)),
        identity(training=False),
        identity(task_name="car"),
        with_data(sub_image=24, stride=12),
        with_data(stride=120),
        with_data(encoding="png"),
        with_data(encoding="png", png_level=3),
        with_data(unusable="skip"),
        with_data(edges="replicate"),
    ]
    assert len(set(different)) == len(different)
    assert with_data(png_level=3) == with_data(shard_mib=7) == identity()


@pytest.mark.parametrize(("experiment", "resized"), [("sr-x2", True), ("dn-s25", False), ("car-q10", False)])
def test_edges_make_other_shards_where_images_are_resized(
    project: Path, configure: Configure, experiment: str, resized: bool
) -> None:
    mirrored = made(experiment)
    configure("data", edges="replicate")
    _, reused = make_manifests(load_params(), experiment, workers=0)
    assert reused == (0 if resized else 2)
    repeated = made(experiment)
    assert [ours.sha256 != theirs.sha256 for ours, theirs in zip(repeated, mirrored, strict=True)] == [resized] * 2
    if resized:
        for sample in read_samples(open_store(STORE), repeated.evaluation.sets["tests"].shards, experiment, 2):
            np.testing.assert_array_equal(sample.lr, degrade(sample.hr, TASKS["sr"], 2, "replicate"))
            np.testing.assert_array_equal(sample.up, bicubic_upscale(sample.lr, 2, "replicate"))


def test_other_code_makes_the_shards_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_manifests(load_params(), "sr-x2", workers=0)[1] == 0
    assert make_manifests(load_params(), "sr-x2", workers=0)[1] == 2
    monkeypatch.setattr(data_prep.shards, "data_code", lambda: "of other code")
    assert make_manifests(load_params(), "sr-x2", workers=0)[1] == 0


def test_a_record_that_is_damaged_is_made_again(project: Path) -> None:
    made("sr-x2")
    records = [path for path in Path(".scn/store/shards/sr/made").iterdir() if path.suffix == ".json"]
    assert len(records) == 2
    for path in records:
        path.write_text("{}")
    assert make_manifests(load_params(), "sr-x2", workers=0)[1] == 0
    assert make_manifests(load_params(), "sr-x2", workers=0)[1] == 2


def test_a_worker_needs_nothing_but_its_job(project: Path) -> None:
    import pickle

    from data_prep import prepare

    jobs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "make_shard", lambda job: jobs.append(job) or make_shard(job))
        manifest = made("sr-x2", store_url="file://one")
    for job, shard in zip(jobs, manifest.shards(), strict=True):
        again, stored = make_shard(pickle.loads(pickle.dumps(job)))
        assert (again.shard, stored) == (shard, True)


# webdataset leaves the files it reads to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(project: Path) -> None:
    """They are ordinary WebDataset shards: members of a sample side by side, one key each."""
    import webdataset

    shards = made("sr-x2").train.shards
    files = [str(Path(".scn/store", shard.key)) for shard in shards]
    samples = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [f"{i:08d}-0000" for i in range(len(NAMES))]
    assert all({"hr.npy", "lr2.npy", "json"} <= set(sample) for sample in samples)
    lr = np.load(io.BytesIO(samples[1]["lr2.npy"]))
    np.testing.assert_array_equal(lr, np.load(io.BytesIO(members(shards[0])["00000001-0000.lr2.npy"])))
    del samples
    gc.collect()
