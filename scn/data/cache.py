"""A cache of shards on this machine's disk, so that each is fetched from the store once."""

import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from scn.core.errors import UserError
from scn.core.files import locked, written_beside
from scn.core.hashing import digest
from scn.shards.manifest import Shard
from scn.shards.samples import read_shard
from scn.storage.base import Store

ReadShard = Callable[[Shard], bytes]
"""Reads the content of a shard, compared with its SHA-256. Raises UserError if it is missing or damaged."""


CACHE = "SCN_SHARD_CACHE"
"""The environment variable that names a cache for all projects and clones of a machine."""


def cache_folder(root: Path) -> Path:
    """The folder of the cache of shards: what SCN_SHARD_CACHE names, else one in the project's folder `root`."""
    return Path(os.environ.get(CACHE) or root / ".scn/shards")


def shard_reader(store: Store, experiment: str | None, cache: Path | None, mib: int) -> ReadShard:
    """Returns the way in which training reads its shards: through a cache on this machine's disk where that saves work.

    It saves none if the store is a folder on the same file system, whose files would only be copied.

    Args:
        experiment: the one whose DVC stage makes the shards, or None, as read_shard takes it.
        cache: folder of the cache; None: no cache.
        mib: size of the cache in MiB; 0: no cache.
    Raises:
        UserError: if the cache's folder can't be made.
    """
    if cache is not None and mib and not store.shares_disk_with(cache):
        return Cache(cache, mib, store, experiment).read
    return partial(read_shard, store, experiment=experiment)


class Cache:
    """A folder of shards, named by SHA-256, that several processes, runs and experiments may share.

    It never exceeds its size: the least recently used shards are removed. Every shard is hashed when it is read, and
    fetched again if its hash is not the manifest's.
    """

    def __init__(self, folder: Path, mib: int, store: Store, experiment: str | None) -> None:
        """Opens the cache and makes its folder.

        Args:
            mib: size of the cache in MiB.
            experiment: the one whose DVC stage makes the shards, or None, as read_shard takes it.
        Raises:
            UserError: if the folder can't be made.
        """
        self._folder = folder
        self._most = mib * 2**20
        self._store = store
        self._experiment = experiment
        self._place = digest(store.url)[:8]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The cache of shards, {folder}, can't be made ({error.strerror}): check its permissions and the disk."
            ) from None

    def read(self, shard: Shard) -> bytes:
        """The content of a shard, from the cache or else from the store.

        Raises:
            UserError: if the store has no undamaged shard either.
        """
        found = self._cached(shard)
        return self._store.attempted(lambda store: self._fetched(shard, store)) if found is None else found

    def _fetched(self, shard: Shard, store: Store) -> bytes:
        """Fetches a shard from the store, unless another has just done so; nobody waits here while the store fails."""
        content = None
        try:
            # One of 16 locks of a store, so that others can fetch other shards, and from other stores.
            with self._locked(f"fetch-{self._place}-{shard.sha256[0]}"):
                if (found := self._cached(shard)) is not None:  # fetched by the lock's last holder
                    return found
                content = read_shard(store, shard, self._experiment)
                if len(content) <= self._most:
                    self._keep(shard, content)
        except OSError as error:  # the cache's disk fails: the run goes on, slower
            warnings.warn(
                f"Shards are not kept in {self._folder} ({error.strerror}): they are fetched anew; check the disk.",
                stacklevel=2,
            )
        return read_shard(store, shard, self._experiment) if content is None else content

    def _cached(self, shard: Shard) -> bytes | None:
        path = self._path(shard)
        try:
            content = path.read_bytes()
            os.utime(path)  # for the least recently used
        except OSError:  # missing, just removed by another process, or unreadable: fetch it
            return None
        return content if hashlib.sha256(content).hexdigest() == shard.sha256 else None

    def _keep(self, shard: Shard, content: bytes) -> None:
        path = self._path(shard)
        with self._locked("space"):
            path.unlink(missing_ok=True)  # damaged
            self._make_room(len(content))
            with written_beside(path, lambda file: file.write(content)) as whole:
                whole.replace(path)

    def _make_room(self, size: int) -> None:
        kept = [(path.stat().st_mtime_ns, path.stat().st_size, path) for path in self._folder.glob("*.tar")]
        used = sum(of_one for _, of_one, _ in kept)
        for _, of_one, path in sorted(kept):
            if used + size <= self._most:
                return
            path.unlink()
            used -= of_one

    def _path(self, shard: Shard) -> Path:
        return self._folder / f"{shard.sha256}.tar"

    def _locked(self, name: str) -> AbstractContextManager[object]:
        return locked(self._folder / f"{name}.lock")
