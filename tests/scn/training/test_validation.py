"""Validation: the figures of evaluation, the same on any number of workers, without a trace in the network."""

import pickle
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from far_store import FarStore
from torch import Tensor, nn

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.evaluation.images import restorer
from scn.evaluation.measuring import means
from scn.evaluation.protocols import measure, protocol
from scn.evaluation.sets import measured_sets
from scn.imaging.degradation import bicubic_upscale, degrade
from scn.networks.build import build
from scn.shards.manifest import EvaluationManifest
from scn.shards.samples import Sample, decode, read_shard, unpack
from scn.storage import open_store
from scn.storage.base import Store
from scn.training.validation import Validation, side_by_side

CPU = torch.device("cpu")
SIZES = [(33, 40), (25, 29), (48, 24), (24, 60), (40, 40)]


class Watched(nn.Module):
    """A network that doubles sizes, and records the states in which it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.states: set[tuple[bool, bool, bool]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.states.add((self.training, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.fixture
def five(small_project: Any, photograph: Callable[..., Any]) -> tuple[Experiment, EvaluationManifest, Store]:
    """The experiment sr-x2, with five images of different sizes to validate on."""
    images = {f"image-{i}": photograph(*size) for i, size in enumerate(SIZES)}
    manifest = small_project.add_shards(
        "sr-x2", {name: hr[: len(hr) // 2 * 2, :24] for name, hr in images.items()}
    ).evaluation
    return small_project.params.experiment("sr-x2"), manifest, open_store("file://store", small_project.root)


def with_run(experiment: Experiment, **run: Any) -> Experiment:
    return experiment.model_copy(update={"run": experiment.run.model_copy(update=run)})


@pytest.mark.parametrize("name", ["sr-x2", "dn-s25", "car-q10"])
def test_the_figures_are_those_of_evaluation(small_project: Any, photograph: Callable[..., Any], name: str) -> None:
    channels = 3 if name == "sr-x2" else 1
    images = {"a": photograph(32, 40, channels), "b": photograph(24, 30, channels)}
    manifest = small_project.add_shards(
        name, {key: hr if channels == 3 else hr[..., 0] for key, hr in images.items()}
    ).evaluation
    experiment, store = small_project.params.experiment(name), open_store("file://store", small_project.root)
    network = build(experiment.architecture(), seed=1)
    methods = {"input": None, "model": restorer(experiment, network)}
    ((_, measured),) = measured_sets(experiment, manifest, store, methods)
    (expected,) = means(image.result for image in measured).values()
    device = next(network.parameters()).device
    result = Validation(experiment, manifest, store, device)(network)
    assert result.psnr == {"sample/evaluation": expected["model"].psnr}
    assert result.degraded == {"sample/evaluation": expected["input"].psnr}


def test_values_that_are_not_finite_are_no_figure_and_end_no_run(five: Any) -> None:
    class Diverged(Watched):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (torch.inf if x.shape[-2] == 16 else 1.0)

    result = Validation(*five, CPU)(Diverged())
    assert np.isnan(result.score)
    assert result.degraded == Validation(*five, CPU)(Watched()).degraded
    assert len(result.samples) == 2


def test_every_named_set_is_measured_and_the_score_is_their_mean(
    five: Any, small_project: Any, photograph: Any
) -> None:
    experiment, manifest, store = five
    hr = photograph(28, 36)
    other = small_project.add_shards("sr-x2", {"x": hr}).evaluation.sets["sample/evaluation"]
    manifest = manifest.model_copy(update={"sets": {**manifest.sets, "other": other}})
    first = Validation(experiment, manifest, store, CPU)(Watched())
    assert list(first.psnr) == ["sample/evaluation"]
    both = with_run(experiment, validate_on=["other", "sample/evaluation"])
    result = Validation(both, manifest, store, CPU)(Watched())
    lr = degrade(hr, experiment.task, 2)
    assert lr is not None
    expected = measure(lr.repeat(2, 0).repeat(2, 1), hr, protocol("sr-y-v1"), 2).psnr
    assert result.psnr == {"other": pytest.approx(expected, abs=6e-5), **first.psnr}
    assert result.score == pytest.approx((result.psnr["other"] + first.psnr["sample/evaluation"]) / 2, abs=1e-9)
    assert [name for name, _ in result.samples] == ["x", "image-0", "image-1"]


def test_a_set_that_is_none_is_said_before_training(five: Any) -> None:
    experiment, manifest, store = five
    experiment = with_run(experiment, validate_on=["sample/evaluatoin"])
    message = "^run.validate_on of sr-x2: 'sample/evaluatoin' is no known evaluation set: did you mean"
    with pytest.raises(UserError, match=f"{message} 'sample/evaluation'"):
        Validation(experiment, manifest, store, CPU)


def test_an_image_that_is_too_small_is_named(small_project: Any, photograph: Callable[..., Any]) -> None:
    manifest = small_project.add_shards("sr-x2", {"tiny": photograph(12, 30)}).evaluation
    store = open_store("file://store", small_project.root)
    validation = Validation(small_project.params.experiment("sr-x2"), manifest, store, CPU)
    with pytest.raises(UserError, match="the image tiny is 30x12 pixels"):
        validation(Watched())


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(five: Any, training: bool) -> None:
    network = Watched().train(training)
    Validation(*five, CPU)(network)
    assert network.states == {(False, False, False)}
    assert network.training is training


def test_the_mode_comes_back_when_validation_fails(five: Any) -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of memory")

    network = Failing()
    with pytest.raises(RuntimeError, match="out of memory"):
        Validation(*five, CPU)(network)
    assert network.training


def test_a_network_learns_on_after_a_validation(five: Any) -> None:
    network = build(five[0].architecture())
    Validation(*five, CPU)(network)
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(not g.is_inference() and g.isfinite().all() for g in gradients)


def test_the_precision_is_that_of_evaluation(five: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.inference.precision.has_bfloat16", lambda device: True)
    experiment, manifest, store = five
    in_training, in_both = Watched(), Watched()
    Validation(with_run(experiment, precision="bfloat16"), manifest, store, CPU)(in_training)
    assert in_training.states == {(False, False, False)}
    config = experiment.evaluate.model_copy(update={"precision": "bfloat16"})
    Validation(experiment.model_copy(update={"evaluate": config}), manifest, store, CPU)(in_both)
    assert in_both.states == {(False, False, True)}


def test_the_shards_are_read_once(five: Any) -> None:
    experiment, manifest, store = five
    validation = Validation(experiment, manifest, store, CPU)
    first = validation(Watched())
    store.delete(manifest.sets["sample/evaluation"].shards[0].key)
    assert validation(Watched()).psnr == first.psnr


def test_a_rank_reads_and_decodes_only_what_holds_its_images(
    five: Any, put: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, manifest, store = five
    (shard,) = manifest.sets["sample/evaluation"].shards
    samples = list(unpack(read_shard(store, shard, "sr-x2"), 2))
    far = FarStore(tmp_path / "store")
    manifest = put(far, experiment, samples[:1], samples[1:3], samples[3:]).evaluation
    keys = [shard.key for shard in manifest.sets["sample/evaluation"].shards]
    decoded = list[str]()

    def noted(members: Mapping[str, bytes], level: int) -> Sample:
        sample = decode(members, level)
        decoded.append(sample.name)
        return sample

    monkeypatch.setattr("scn.shards.samples.decode", noted)
    for module in ("validation", "world"):
        monkeypatch.setattr(f"scn.training.{module}.gathered", lambda ours, world: [ours] * world.world_size)
    expected = [([0, 2], ["image-0", "image-4"]), ([1], ["image-1"]), ([1], ["image-2"]), ([2], ["image-3"])]
    cache = tmp_path / "cache"
    for rank, (shards, names) in enumerate(expected):
        far.asked, decoded[:] = [], []
        Validation(experiment, manifest, far, CPU)(Watched(), rank, 4)
        assert (far.asked, decoded) == ([keys[i] for i in shards], names)
    far.asked = []
    for rank in range(4):  # of one machine
        Validation(experiment, manifest, far, CPU, cache=cache)(Watched(), rank, 4)
    assert sorted(far.asked) == sorted(keys)


def test_every_rank_names_the_first_image_that_is_too_small(
    five: Any, small_project: Any, photograph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scn.training.world.gathered", lambda ours, world: [ours] * world.world_size)
    experiment, _, store = five
    sizes = {"a": (24, 24), "b": (30, 24), "tiny": (12, 30), "less": (10, 30)}
    images = {name: photograph(*size) for name, size in sizes.items()}
    manifest = small_project.add_shards("sr-x2", images).evaluation
    for rank in range(4):
        with pytest.raises(UserError, match="the image tiny is 30x12 pixels"):
            Validation(experiment, manifest, store, CPU)(Watched(), rank, 4)


def test_samples_show_degraded_restored_and_original(small_project: Any, photograph: Callable[..., Any]) -> None:
    images = {name: photograph(140, 160) for name in "abcde"}
    manifest = small_project.add_shards("sr-x2", images).evaluation
    store = open_store("file://store", small_project.root)
    experiment = small_project.params.experiment("sr-x2")
    samples = Validation(experiment, manifest, store, CPU)(Watched()).samples
    assert [name for name, _ in samples] == ["a", "b", "c"]
    hr = images["a"]
    lr = degrade(hr, experiment.task, 2)
    assert lr is not None
    for i, whole in enumerate((bicubic_upscale(lr, 2), lr.repeat(2, 0).repeat(2, 1), hr)):
        np.testing.assert_array_equal(samples[0][1][:, 128 * i : 128 * (i + 1)], whole[6:134, 16:144])
    grey = side_by_side(*[np.zeros((20, 200), np.uint8)] * 3)
    assert grey.shape == (20, 3 * 128)


def _worker(rank: int, folder: Path, runs: list[Any]) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", rendezvous, timedelta(seconds=60), rank=rank, world_size=2)
    networks = [build(experiment.architecture(), seed=1) for experiment, _, _ in runs]
    found = [Validation(*run, CPU)(network, rank, 2) for run, network in zip(runs, networks, strict=True)]
    dist.destroy_process_group()
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))


def test_two_workers_find_what_one_does(five: Any, small_project: Any, photograph: Any, tmp_path: Path) -> None:
    """Two ranks can't share five images evenly; of a single image one rank gets none."""
    experiment, _, store = five
    runs = [five, (experiment, small_project.add_shards("sr-x2", {"only": photograph(30, 34)}).evaluation, store)]
    expected = [Validation(*run, CPU)(build(experiment.architecture(), seed=1)) for run in runs]
    mp.spawn(_worker, (tmp_path, runs), nprocs=2)
    found = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]
    for of_rank in found:
        for result, alone in zip(of_rank, expected, strict=True):
            assert (result.psnr, result.degraded, result.score) == (alone.psnr, alone.degraded, alone.score)
            assert [name for name, _ in result.samples] == [name for name, _ in alone.samples]
            for (_, image), (_, same) in zip(result.samples, alone.samples, strict=True):
                np.testing.assert_array_equal(image, same)
