"""Loads the images of a group from shards into memory, on a GPU beside what it computes."""

import errno
import json
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.core.memory import NoRoom, ran_out
from scn.data.cache import ReadShard
from scn.data.groups import Group, group_bytes
from scn.data.image_pool import ImagePool
from scn.data.shared_memory import shared_memory
from scn.shards.manifest import Shard
from scn.shards.samples import made_again_by, unpack
from scn.storage.base import StoreError

PIECE_BYTES = 32 * 2**20
"""Bytes of pinned memory that are copied to a GPU at once."""


class Loader:
    """Loads the images of groups; where the run has several processes on a machine, one of them does it for all."""

    def __init__(
        self, experiment: Experiment, stage: str | None, read: ReadShard, device: torch.device, folder: Path | None
    ) -> None:
        """Takes the way to read shards, and the device that holds the images in the end.

        Args:
            stage: the experiment whose DVC stage makes the shards, or None, as read_shard takes it.
            folder: holds the locks of memory that this machine's processes share; None: they share none.
        """
        self._experiment, self._stage, self._read, self._device = experiment, stage, read, device
        self._folder = folder if processes_here() > 1 and hasattr(os, "memfd_create") else None

    def __call__(self, group: Group, abandoned: Event) -> ImagePool:
        """The images of a group; incomplete if they are `abandoned` meanwhile.

        Raises:
            UserError: if a shard is missing or damaged, or the manifest names too few.
            NoRoom: if memory is too small.
            StoreError: if the store has failed for too long.
        """
        if self._device.type != "cuda":
            return self._in_host_memory(group, abandoned)
        memory = self._empty(group, self._device)  # before anything is read, as there may be no room
        free = torch.cuda.current_stream(self._device).record_event()
        pool = self._in_host_memory(group, abandoned)
        _copy_to_gpu(pool.memory, memory, free)
        return ImagePool(group, self._experiment, memory, pool.names)

    def _in_host_memory(self, group: Group, abandoned: Event) -> ImagePool:
        if self._folder is None:
            return self._filled(group, self._empty(group, torch.device("cpu")), abandoned)

        asked, patience = time.monotonic(), self._experiment.run.store_timeout_s

        def fill(memory: Tensor) -> bytes:
            if 0 < patience <= time.monotonic() - asked:  # or each process in turn would be as patient as the first
                raise StoreError(
                    f"Another process of this machine did not get the images of {self._experiment.name} within "
                    f"run.store_timeout_s, {patience} s: see what it says."
                )
            pool = self._filled(group, memory, abandoned)
            return b"" if abandoned.is_set() else json.dumps([pool.names[i] for i in range(len(group))]).encode()

        try:
            memory, names = shared_memory(self._folder, self._name(group), group_bytes(self._experiment, group), fill)
        except OSError as error:
            if error.errno in (errno.ENOMEM, errno.ENOSPC):
                raise self._no_room(group, torch.device("cpu")) from None
            warnings.warn(
                f"The processes of this machine don't share their images ({error}): each holds all of them.",
                stacklevel=2,
            )
            return self._filled(group, self._empty(group, torch.device("cpu")), abandoned)
        return ImagePool(group, self._experiment, memory, dict(enumerate(json.loads(names or b"[]"))))

    def _filled(self, group: Group, memory: Tensor, abandoned: Event) -> ImagePool:
        pool, wanted = ImagePool(group, self._experiment, memory), frozenset(group.images.tolist())

        def read_into(shard: Shard) -> None:
            if not abandoned.is_set():
                for sample in unpack(self._read(shard), self._experiment.level, wanted):
                    pool.paste(sample)

        with ThreadPoolExecutor(self._experiment.run.loader_workers, thread_name_prefix="shards") as readers:
            for _ in readers.map(read_into, group.shards):
                pass
        if not pool.is_whole and not abandoned.is_set():
            raise UserError(
                f"The manifest of {self._experiment.name} does not name all shards that hold its images: make it again "
                f"with {made_again_by(self._stage)}."
            )
        return pool

    def _name(self, group: Group) -> str:
        """Names the bytes of a group's images in this project on this machine."""
        return digest(
            {
                "machine": Path("/proc/sys/kernel/random/boot_id").read_text(),  # locks may lie on a shared disk
                "folder": str(self._folder),
                "task": self._experiment.task_name,
                "level": self._experiment.level,
                "shards": [shard.sha256 for shard in group.shards],
                "images": group.images.tolist(),
            }
        )

    def _empty(self, group: Group, device: torch.device) -> Tensor:
        try:
            return torch.empty(group_bytes(self._experiment, group), dtype=torch.uint8, device=device)
        except RuntimeError as error:  # on a GPU torch.OutOfMemoryError, on a CPU a bare one
            if not ran_out(error):
                raise
            raise self._no_room(group, device) from None

    def _no_room(self, group: Group, device: torch.device) -> NoRoom:
        name, mib = self._experiment.name, group_bytes(self._experiment, group) / 2**20
        return NoRoom(
            f"{device} has no room for the {len(group)} training images of {name}, {mib:.0f} MiB uncompressed: set "
            "train.group_mib, so that a group of them is in memory at a time."
        )


def processes_here() -> int:
    """Returns the number of the run's processes on this machine, as torchrun and Ray Train tell it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _copy_to_gpu(source: Tensor, target: Tensor, free: torch.cuda.Event) -> None:
    """Copies memory of the host to a GPU in pinned pieces, on a stream of its own; only this thread waits for it.

    Args:
        source: uint8 (n,).
        target: uint8 (n,), not read or written any more by what was queued before the event `free`.
    """
    stream = torch.cuda.Stream(target.device)
    stream.wait_event(free)
    with torch.cuda.stream(stream):
        for piece, place in zip(source.split(PIECE_BYTES), target.split(PIECE_BYTES), strict=True):
            place.copy_(piece.pin_memory(), non_blocking=True)
    stream.synchronize()
