"""Sets of images, measured image by image in this process or on a cluster: for stages and comparisons."""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from tqdm import tqdm

from scn.config.params import Experiment
from scn.evaluation.images import Restorer, measurable
from scn.evaluation.measuring import Distance, Measured, Method, Samples, measure_sample
from scn.shards.manifest import EvaluationManifest
from scn.shards.samples import Sample
from scn.storage.base import Store


@dataclass(frozen=True)
class StoredSets:
    """All evaluation sets, one after the other; pickled, it is read on any node that reaches the store."""

    experiment: Experiment
    manifest: EvaluationManifest
    store: Store

    def __len__(self) -> int:
        """Returns the number of images of all sets."""
        return sum(images.samples for images in self.manifest.sets.values())

    def read(self, numbers: Sequence[int]) -> Iterator[Sample]:
        """Yields the images of `numbers`, which ascend; reads no shard without one of them.

        Raises:
            UserError: if a shard is missing or damaged, or an image is too small for the task's first protocol.
        """
        from scn.shards.pipeline import read_samples  # by way of webdataset, which folders of images do without

        wanted, start = set(numbers), 0
        for name, images in self.manifest.sets.items():
            for shard in images.shards:
                of_shard = {number - start for number in wanted if start <= number < start + shard.samples}
                start += shard.samples
                if of_shard:
                    about = self.experiment
                    yield from measurable(
                        read_samples(self.store, [shard], self.manifest.stage, about.level, of_shard), about, name
                    )


def measure_samples(
    samples: Samples,
    experiment: Experiment,
    methods: Mapping[str, Method | None],
    distances: Mapping[str, Distance] | None = None,
    *,
    numbers: Sequence[int] | None = None,
    pictures: Container[int] = (),
) -> Iterator[Measured]:
    """Yields what measure_sample finds, in the samples' order, with few images in memory at a time.

    With RAY_ADDRESS set, the cluster's nodes read and measure the images (scn.evaluation.cluster).

    Args:
        numbers: numbers of the images to measure, in ascending order; None: all.
        pictures: numbers of the images whose pictures are wanted: from a cluster those of others don't come along.
    Raises:
        UserError: at the first image that can't be read or measured.
    """
    numbers = range(len(samples)) if numbers is None else numbers
    if not os.environ.get("RAY_ADDRESS"):
        yield from map(partial(measure_sample, experiment, methods, distances or {}), samples.read(numbers))
        return
    from scn.evaluation.cluster import Work, measure_on_cluster

    portable = {name: m.portable() if isinstance(m, Restorer) else m for name, m in methods.items()}
    score = partial(measure_sample, experiment, portable, distances or {})
    yield from measure_on_cluster(Work(samples=samples, score=score, pictures=pictures), numbers)


def measured_sets(
    experiment: Experiment,
    manifest: EvaluationManifest,
    store: Store,
    methods: Mapping[str, Method | None],
    pictures: Container[int] = (),
) -> Iterator[tuple[str, Iterator[Measured]]]:
    """Yields every evaluation set's name, and what scn.evaluation.measuring finds of its images, in their order.

    The images of a set have to be taken before the next set is.

    Args:
        pictures: as in measure_samples; images are numbered through all sets.
    Raises:
        UserError: if a shard is damaged, or an image is too small for the protocol.
    """
    measured = measure_samples(StoredSets(experiment, manifest, store), experiment, methods, pictures=pictures)
    for name, images in manifest.sets.items():
        # disable=None: only where there is a terminal
        bar = partial(tqdm, total=images.samples, desc=name, unit="image", leave=False, disable=None)
        yield name, iter(bar(islice(measured, images.samples)))
