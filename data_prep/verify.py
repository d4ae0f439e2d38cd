"""Checks that the shards of a manifest are in the store as they were made."""

import io
import tarfile
from collections.abc import Iterator

from tqdm import tqdm

from scn.core.errors import UserError
from scn.shards.manifest import Manifest, image_sets
from scn.shards.samples import read_shard
from scn.storage.base import Store, StoreError


def problems(manifest: Manifest, store: Store, experiment: str | None = None) -> Iterator[str]:
    """Reads and hashes every shard; yields a sentence for each that is missing, damaged or not as the manifest says.

    Args:
        experiment: the one whose DVC stage makes these shards in this store; None: they were made by hand.
    Raises:
        StoreError: if the store can't be read, which says nothing of the shards; the rest would only wait for it again.
    """
    again = "make it again with `data-prep shard`"
    for images in image_sets(manifest):
        if images.samples != (listed := sum(shard.samples for shard in images.shards)):
            corpora = ", ".join(images.corpora)
            yield f"The manifest counts {images.samples} samples of {corpora}, its shards {listed}: {again}."
    # disable=None: only where there is a terminal
    for shard in tqdm(
        [shard for images in image_sets(manifest) for shard in images.shards],
        desc="shards",
        unit="shard",
        leave=False,
        disable=None,
    ):
        try:
            data = read_shard(store, shard, experiment)
        except StoreError:
            raise
        except UserError as error:
            yield str(error)
            continue
        if (found := _count(data)) != shard.samples:
            yield f"The shard {shard.key} holds {found} samples, the manifest says {shard.samples}: {again}."


def _count(data: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return len({name.partition(".")[0] for name in tar.getnames()})
