"""Pairs for training loops of one's own: the samples of our own reader as tensors, split, shuffled and noisy."""

import copy
import gc
import hashlib
import io
import pickle
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader

from scn.core.errors import UserError
from scn.evaluation.images import degrade
from scn.shards import webdataset
from scn.shards.manifest import Manifests, Shard
from scn.shards.samples import About, Sample, encode, read_shard, unpack
from scn.storage import open_store
from scn.storage.base import Store

SIZES = [(20, 24), (18, 22), (30, 20), (16, 16), (22, 40), (20, 20), (24, 26)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error PyTorch waits so long, by default 5 seconds, for every worker of a DataLoader."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2, raising=False)


@pytest.fixture(autouse=True)
def alone_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Prefect, in tests of flows before these, has registered for the end of threads fails in a forked worker."""
    monkeypatch.setattr("threading._threading_atexits", [])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path / 'store'}")


@pytest.fixture
def either_store(store_url: str) -> Store:
    """One in a folder, then one in a bucket."""
    return open_store(store_url)


@pytest.fixture
def make(put: Callable[..., Any], small_project: Any) -> Callable[[Store, str], Manifests]:
    """make(store, experiment): seven images of different sizes in four shards."""

    def of(store: Store, name: str) -> Manifests:
        experiment = small_project.params.experiment(name)
        samples = [drawn(i, size, 3 if name == "sr-x2" else 1, experiment) for i, size in enumerate(SIZES)]
        return put(store, experiment, samples[:2], samples[2:3], samples[3:5], samples[5:])

    return of


def drawn(index: int, size: tuple[int, int], channels: int, experiment: Any) -> Sample:
    rng, scale = np.random.default_rng(index), experiment.scale
    hr = rng.integers(0, 256, (*size, channels), np.uint8)
    lr = rng.integers(0, 256, (size[0] // scale, size[1] // scale, channels), np.uint8)
    if channels == 1:
        hr, lr = hr[..., 0], lr[..., 0]
    about = About(name=f"{index}.png", index=index, height=size[0], width=size[1])
    return Sample(about=about, hr=hr, lr=lr if experiment.task.stored else None)


def own(store: Store, shards: Iterable[Shard], level: int) -> list[Sample]:
    """The samples as the project's own reader has them."""
    return [sample for shard in shards for sample in unpack(read_shard(store, shard, "?"), level)]


def pixels(tensor: Tensor) -> list[Any]:
    return (tensor * 255).round().int().tolist()


def same(pairs: Iterable[tuple[Tensor, Tensor]], others: Iterable[tuple[Tensor, Tensor]]) -> bool:
    return all(x.equal(u) and y.equal(v) for (x, y), (u, v) in zip(pairs, others, strict=True))


def error_of(dataset: Any, workers: int) -> str:
    """What a DataLoader raises as a UserError; its workers have ended then."""
    try:
        list(DataLoader(dataset, batch_size=None, num_workers=workers))
    except UserError as error:
        message = str(error)
    gc.collect()  # PyTorch's iterator is in a circle with its error; a later one's workers would inherit it
    return message


def sizes(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[int, int]]:
    """Of the targets, by which the images of these tests can be told."""
    return [tuple(target.shape[-2:]) for _, target in pairs]


@pytest.mark.parametrize("name", ["sr-x2", "car-q10"])
def test_pairs_are_the_samples_of_our_own_reader(make: Any, either_store: Store, name: str) -> None:
    manifest = make(either_store, name).train
    pairs = list(webdataset(manifest, either_store))
    assert isinstance(webdataset(manifest, either_store), wds.WebDataset)
    samples = own(either_store, manifest.shards, manifest.level)
    assert [sample.about.index for sample in samples] == list(range(7))
    for (degraded, target), sample in zip(pairs, samples, strict=True):
        for tensor, image in ((degraded, sample.lr), (target, sample.hr)):
            assert image is not None
            assert tensor.dtype == torch.float32
            planes = image.transpose(2, 0, 1) if image.ndim == 3 else image[None]
            assert tensor.equal(torch.from_numpy(planes.copy()).float().div(255))
            assert tensor.is_contiguous()


@pytest.mark.parametrize("name", ["sr-x2", "car-q10", "dn-s25"])
def test_the_input_of_an_evaluation_set_is_that_of_evaluation(
    make: Any, store: Store, small_project: Any, name: str
) -> None:
    manifest, experiment = make(store, name).evaluation, small_project.params.experiment(name)
    samples = own(store, manifest.sets["sample/evaluation"].shards, manifest.level)
    for (degraded, target), sample in zip(webdataset(manifest, store, seed=5, epoch=3), samples, strict=True):
        image = degrade(sample, experiment)[0]
        np.testing.assert_array_equal(degraded.numpy().transpose(1, 2, 0).reshape(image.shape), image)
        assert pixels(target[0]) == (sample.hr if sample.hr.ndim == 2 else sample.hr[..., 0]).tolist()


def test_noise_to_train_on_is_a_function_of_seed_and_epoch(make: Any, store: Store) -> None:
    manifest = make(store, "dn-s25").train
    pairs = list(webdataset(manifest, store, seed=1, epoch=2))
    added = [255 * (degraded - target).numpy().ravel() for degraded, target in pairs]
    assert np.std(np.concatenate(added)) == pytest.approx(25, rel=0.05)
    assert np.mean(np.concatenate(added)) == pytest.approx(0, abs=1.5)
    assert max(float(degraded.max()) for degraded, _ in pairs) > 1.05  # not clipped
    assert abs(np.corrcoef(added[0][:256], added[1][:256])[0, 1]) < 0.3
    assert same(pairs, webdataset(manifest, store, seed=1, epoch=2))
    shuffled = webdataset(manifest, store, seed=1, epoch=2, shuffle=3)
    assert same(sorted(pairs, key=lambda pair: pair[1].shape), sorted(shuffled, key=lambda pair: pair[1].shape))
    assert not any(x.equal(u) for (x, _), (u, _) in zip(pairs, webdataset(manifest, store, seed=1), strict=True))
    assert not any(x.equal(u) for (x, _), (u, _) in zip(pairs, webdataset(manifest, store, epoch=2), strict=True))
    stronger = list(webdataset(manifest, store, seed=1, epoch=2, level=50))
    for (x, y), (u, _) in zip(pairs, stronger, strict=True):
        torch.testing.assert_close(u - y, 2 * (x - y), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("shuffle", "different"), [(1, 4), (3, 5), (100, 5)])
def test_shuffling_is_a_function_of_seed_and_epoch(make: Any, store: Store, shuffle: int, different: int) -> None:
    """With 1 only the shards are shuffled; four have few orders, of which several epochs may have the same."""
    manifest = make(store, "sr-x2").train
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        dataset = webdataset(manifest, store, shuffle=shuffle, seed=seed, epoch=epoch)
        orders.append(sizes(dataset))
        assert sizes(dataset) == orders[-1]
        assert sizes(webdataset(manifest, store, shuffle=shuffle, seed=seed, epoch=epoch)) == orders[-1]
        assert sorted(orders[-1]) == sorted(SIZES)
    assert len(set(map(tuple, orders))) == different
    assert shuffle == 1 or SIZES not in orders


def test_samples_of_one_shard_come_in_another_order_every_epoch(store: Store, put: Any, small_project: Any) -> None:
    experiment = small_project.params.experiment("sr-x2")
    manifest = put(store, experiment, [drawn(i, size, 3, experiment) for i, size in enumerate(SIZES)]).train
    orders = [sizes(webdataset(manifest, store, shuffle=100, epoch=epoch)) for epoch in range(4)]
    assert [sorted(order) for order in orders] == [sorted(SIZES)] * 4
    assert len(set(map(tuple, orders))) == 4


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffle", [0, 4])
def test_processes_share_the_shards(make: Any, store: Store, world_size: int, shuffle: int) -> None:
    manifest = make(store, "sr-x2").train
    options = {"shuffle": shuffle, "epoch": 1, "world_size": world_size}
    parts = [sizes(webdataset(manifest, store, rank=rank, **options)) for rank in range(world_size)]
    assert all(parts)
    assert sorted(size for part in parts for size in part) == sorted(SIZES)
    if world_size == 4 and not shuffle:
        assert parts == [SIZES[:2], SIZES[2:3], SIZES[3:5], SIZES[5:]]


def test_the_rank_is_by_default_that_of_the_process(make: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make(store, "sr-x2").train
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert sizes(webdataset(manifest, store)) == SIZES[2:3]
    assert sizes(webdataset(manifest, store, rank=0, world_size=1)) == SIZES
    with pytest.raises(ValueError, match="rank and world_size go together"):
        webdataset(manifest, store, rank=1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_a_loader_share_the_shards_of_a_process(make: Any, either_store: Store) -> None:
    manifest = make(either_store, "dn-s25").train
    pairs = list(webdataset(manifest, either_store))
    for rank, expected in ((0, [0, 1, 3, 4]), (1, [2, 5, 6])):
        dataset = webdataset(manifest, either_store, rank=rank, world_size=2)
        found = list(DataLoader(dataset, batch_size=None, num_workers=2))
        assert sorted(sizes(found)) == sorted(sizes(pairs[i] for i in expected))
        for degraded, target in found:
            assert same([(degraded, target)], [pairs[SIZES.index(tuple(target.shape[-2:]))]])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_opens_the_store_anew(
    make: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of an S3 store does not survive the fork."""
    dataset, opened = webdataset(make(store, "sr-x2").train, store), tmp_path / "opened"

    def note(store: Store) -> Store:
        with opened.open("a") as file:
            file.write(f"{store.url}\n")
        return copy.deepcopy(store)

    monkeypatch.setattr("scn.shards.pipeline.reopened", note)
    assert sizes(dataset) == SIZES
    assert not opened.exists()
    assert len(list(DataLoader(dataset, batch_size=None, num_workers=2))) == 7
    assert opened.read_text().splitlines() == [store.url] * 2


def test_a_worker_that_is_started_anew_needs_nothing_else(make: Any, store: Store) -> None:
    """As a DataLoader does with multiprocessing_context="spawn"."""
    dataset = webdataset(make(store, "dn-s25").train, store, shuffle=3, epoch=1)
    assert same(dataset, pickle.loads(pickle.dumps(dataset)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("world_size", "workers", "readers"), [(5, 0, 5), (3, 2, 6)])
def test_more_readers_than_shards_are_an_error(
    make: Any, store: Store, world_size: int, workers: int, readers: int
) -> None:
    dataset = webdataset(make(store, "sr-x2").train, store, rank=0, world_size=world_size)
    assert (
        f"sr-x2 has too few shards (4) for {readers} readers ({world_size} processes x {workers or 1} workers): use "
        f"fewer workers, or spread its training images over more shards with data.min_shards: {readers} and the "
        "`data-prep shard` command that made their manifest."
    ) in error_of(dataset, workers)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_never_skipped(make: Any, either_store: Store, workers: int) -> None:
    manifest = make(either_store, "sr-x2").train
    shard = manifest.shards[2]
    data = either_store.get(shard.key)
    either_store.delete(shard.key)
    dataset = webdataset(manifest, either_store)
    missing = (
        f"The shard {shard.key} is not in {either_store.url}: make it again with the `data-prep shard` command that "
    )
    assert missing in error_of(dataset, workers)
    either_store.put(shard.key, data[:-512])
    damaged = (
        rf"The shard {shard.key} in {either_store.url} is damaged \(it has \d+ bytes, the manifest says {shard.bytes}\)"
    )
    assert re.search(damaged, error_of(dataset, workers))
    either_store.delete(shard.key)
    either_store.put(shard.key, data)
    assert len(list(DataLoader(dataset, batch_size=None, num_workers=workers))) == 7


@pytest.mark.integration
def test_a_request_that_fails_is_repeated(s3_bucket: str, put: Any, small_project: Any) -> None:
    store: Any = open_store(f"s3://{s3_bucket}")
    experiment = small_project.params.experiment("sr-x2")
    manifest = put(store, experiment, [drawn(0, (20, 20), 3, experiment)]).train
    asked = []

    def fail_once(request: Any, **_: object) -> Any:
        from botocore.awsrequest import AWSResponse

        asked.append(request.url)
        raw: Any = io.BytesIO(b"<Error><Code>InternalError</Code></Error>")
        raw.stream = lambda **_: iter([raw.getvalue()])
        return AWSResponse(request.url, 500, {}, raw) if len(asked) == 1 else None

    store._client.meta.events.register("before-send.s3.GetObject", fail_once)
    assert sizes(webdataset(manifest, store)) == [(20, 20)]
    assert len(asked) == 2


def test_webdatasets_own_methods_go_on_from_it(make: Any, store: Store) -> None:
    dataset = webdataset(make(store, "sr-x2").train, store, rank=1, world_size=2)
    assert sizes(dataset) == [SIZES[2], *SIZES[5:]]
    assert sizes(dataset.with_epoch(5)) == [SIZES[2], *SIZES[5:], SIZES[2], SIZES[5]]
    dataset = webdataset(make(store, "sr-x2").train, store).map(lambda pair: [image[:, :8, :8] for image in pair])
    shapes = [[tuple(part.shape) for part in batch] for batch in dataset.batched(4)]
    assert shapes == [[(4, 3, 8, 8)] * 2, [(3, 3, 8, 8)] * 2]


def test_levels_that_share_their_originals(tmp_path: Path, put: Any, small_project: Any) -> None:
    store, images = open_store(f"file://{tmp_path}"), [np.full((n, n), n, np.uint8) for n in (12, 6, 4)]
    about = About(name="a", height=12, width=12)
    members = encode(dict(zip(("hr", "lr2", "lr3"), images, strict=True)), "png", 1)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for suffix, data in (members | {"json": about.model_dump_json().encode()}).items():
            member = tarfile.TarInfo(f"{about.key}.{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = content.getvalue()
    store.put("shards/a.tar", data)
    shard = Shard(
        key="shards/a.tar", bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), samples=1, images={0: (12, 12)}
    )
    manifest = put(store, small_project.params.experiment("sr-x2")).train
    manifest = manifest.model_copy(update={"shards": [shard], "parameters": {"levels": [2, 3]}})
    for level, side in ((None, 6), (2, 6), (3, 4)):
        ((degraded, target),) = webdataset(manifest, store, level=level)
        assert pixels(degraded) == [[[side] * side] * side]
        assert pixels(target) == [[[12] * 12] * 12]
    message = r"^The shards of sr-x2 hold no images at scale 4, only at 2, 3: ask for one of these, or make shards with"
    with pytest.raises(UserError, match=message):
        webdataset(manifest, store, level=4)


def test_what_shards_do_not_hold_is_one_sentence(tmp_path: Path, put: Any, small_project: Any) -> None:
    store = open_store(f"file://{tmp_path}")
    noisy, scaled = (put(store, small_project.params.experiment(name)) for name in ("dn-s25", "sr-x2"))
    with pytest.raises(
        UserError, match=r"^The shards of dn-s25 hold no images at sigma 101, only at 1\.\.100: ask for"
    ):
        webdataset(noisy.train, store, level=101)
    with pytest.raises(UserError, match=r"^The shards of sr-x2 hold no images at scale 3, only at 2: ask for one of"):
        webdataset(scaled.evaluation, store, level=3)
    with pytest.raises(UserError, match=r"^'Set5' is an evaluation set, but this manifest of dn-s25 is train\.json\.$"):
        webdataset(noisy.train, store, evaluation_set="Set5")
    with pytest.raises(
        UserError, match=r"^sr-x2: 'sample/evaluatoin' is no known evaluation set: did you mean 'sample/"
    ):
        webdataset(scaled.evaluation, store, evaluation_set="sample/evaluatoin")
    sets = {"a": scaled.evaluation.sets["sample/evaluation"], "b": noisy.evaluation.sets["sample/evaluation"]}
    several = scaled.evaluation.model_copy(update={"sets": sets})
    with pytest.raises(UserError, match=r"^evaluation_set: name one of the sets of sr-x2: a, b\.$"):
        webdataset(several, store)


def test_a_set_is_read_by_its_name(tmp_path: Path, put: Any, small_project: Any) -> None:
    store, experiment = open_store(f"file://{tmp_path}"), small_project.params.experiment("sr-x2")
    first, second = (put(store, experiment, [drawn(i, SIZES[i], 3, experiment)]).evaluation for i in (0, 1))
    sets = {"a": first.sets["sample/evaluation"], "b": second.sets["sample/evaluation"]}
    manifest = first.model_copy(update={"sets": sets})
    assert sizes(webdataset(manifest, store, evaluation_set="b")) == SIZES[1:2]
    assert sizes(webdataset(manifest, store, evaluation_set="a")) == SIZES[:1]
