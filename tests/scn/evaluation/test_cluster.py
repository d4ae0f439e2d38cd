"""Evaluation on a Ray cluster: the same figures, one sentence for an error, few images in memory, lost actors."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scn.core.errors import UserError
from scn.core.ray import start_ray, stop_ray
from scn.evaluation import cluster as measuring_cluster
from scn.evaluation.images import restorer
from scn.evaluation.measuring import INPUT
from scn.evaluation.runner import ensemble_stage, evaluate_stage
from scn.evaluation.sets import measure_samples, measured_sets
from scn.inference.model_files import load_model
from scn.shards.samples import About, Sample
from scn.storage import open_store

NAME = "sr-x2"
CPUS = 2

pytestmark = [
    pytest.mark.integration,
    # Ray leaves files and sockets of its own processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of CPUS processors for the tests of this file."""
    import ray

    stop_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        start_ray(CPUS, show_logs=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actors can't import tests
    yield
    stop_ray()


@pytest.fixture
def on_cluster(cluster: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes the rest of a test run on the cluster."""
    return lambda: monkeypatch.setenv("RAY_ADDRESS", "local")


@pytest.fixture
def asked_of_actors(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The numbers of the images that actors are to measure, one list for each time that they are asked."""
    asked: list[list[int]] = []
    measure = measuring_cluster.measure_on_cluster

    def noted(work: Any, numbers: Sequence[int]) -> Iterator[Any]:
        asked.append(list(numbers))
        return measure(work, numbers)

    monkeypatch.setattr(measuring_cluster, "measure_on_cluster", noted)
    return asked


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_figures_and_pictures_are_those_of_one_process(
    small_project: Any,
    photograph: Any,
    on_cluster: Callable[[], None],
    asked_of_actors: list[list[int]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    sizes = ((32, 40), (24, 26), (28, 44), (36, 22), (30, 30), (26, 48))
    small_project.add_shards(NAME, {f"{i}": photograph(*size) for i, size in enumerate(sizes)})
    small_project.add_model(NAME)
    evaluations = small_project.root / "evaluations" / NAME

    def stages() -> dict[str, bytes]:
        evaluate_stage(small_project.params, NAME)
        ensemble_stage(small_project.params, NAME)
        return contents(evaluations)

    here = stages()
    assert len(here) == 2 + 4 * 4  # two files of figures; of four images truth, input, model and ensemble
    assert asked_of_actors == []
    shutil.rmtree(evaluations)
    capfd.readouterr()
    on_cluster()
    assert stages() == here
    assert asked_of_actors == [[*range(6)], [1, 2, 3, 4], [*range(6)]]  # for figures, pictures, self-ensemble
    told = capfd.readouterr().out.lower().splitlines()  # a raylet now and then takes the end of an actor for its death
    assert not [line for line in told if "ray" in line and "(raylet" not in line]


def test_a_damaged_shard_is_the_same_sentence_after_the_images_before_it(
    small_project: Any,
    photograph: Any,
    put: Callable[..., Any],
    on_cluster: Callable[[], None],
    asked_of_actors: list[list[int]],
) -> None:
    params = small_project.params
    store, experiment = open_store(params.storage.url, params.root), params.experiment("dn-s25")
    hr = photograph(32, 40, 1)[..., 0]
    shards = [
        [Sample(about=About(name=f"{i}", index=i, height=32, width=40), hr=hr) for i in numbers]
        for numbers in ((0, 1), (2,))
    ]
    manifest = put(store, experiment, *shards).evaluation
    (of_set,) = manifest.sets.values()
    (params.root / "store" / of_set.shards[1].key).unlink()

    def names_and_error() -> tuple[list[str], str]:
        names: list[str] = []
        ((_, measured),) = measured_sets(experiment, manifest, store, {INPUT: None})
        with pytest.raises(UserError) as raised:
            names.extend(image.result.name for image in measured)
        assert type(raised.value) is UserError
        return names, str(raised.value)

    here = names_and_error()
    assert here[0] == ["0", "1"]
    assert of_set.shards[1].key in here[1]
    assert asked_of_actors == []
    on_cluster()
    assert names_and_error() == here
    assert asked_of_actors == [[0, 1, 2]]


@dataclass(frozen=True)
class Watched:
    """Images that note when they are read and done with; the process that first reads `deadly` ends."""

    folder: Path
    count: int
    deadly: int

    def __len__(self) -> int:
        return self.count

    def read(self, numbers: Sequence[int]) -> Iterator[Sample]:
        rng = np.random.default_rng(0)
        for number in numbers:
            start = time.time()
            if number == self.deadly and not (self.folder / "died").exists():
                (self.folder / "died").touch()
                os._exit(1)
            about = About(name=f"{number}", index=number, height=40, width=40)
            yield Sample(about=about, hr=rng.integers(0, 256, (40, 40), np.uint8))
            (self.folder / f"{number}").write_text(f"{start} {time.time()}")  # the next one is asked for


def test_each_actor_has_one_image_at_a_time_and_a_lost_one_is_replaced(
    small_project: Any, tmp_path: Path, on_cluster: Callable[[], None]
) -> None:
    experiment = small_project.params.experiment("dn-s25")
    network = load_model(small_project.add_model("dn-s25"))[0]
    methods = {"model": restorer(experiment, network)}
    samples = Watched(tmp_path, count=40, deadly=23)
    on_cluster()
    measured = list(measure_samples(samples, experiment, methods, pictures={3, 30}))
    assert (tmp_path / "died").exists()
    assert [image.result.name for image in measured] == [f"{i}" for i in range(40)]
    assert [i for i, image in enumerate(measured) if image.pictures] == [3, 30]
    times = [tuple(map(float, (tmp_path / f"{i}").read_text().split())) for i in range(40)]
    assert max(sum(start <= at < end for start, end in times) for at, _ in times) <= CPUS
    (computation,) = {each for image in measured for each in image.computations}
    assert computation == methods["model"].computation
