"""The section `run` of params.yaml: the execution of a training, whose weights only `batch_per_worker` changes."""

from typing import Literal

from pydantic import Field

from scn.core.schema import Section


class RunConfig(Section):
    """Section `run` of params.yaml: workers, devices, memory, checkpoints, logging and time-outs of a training.

    A change of any of these keys changes a result by rounding at most; no stage of DVC becomes stale by it, and an
    unfinished run goes on. The exception is `batch_per_worker`: where it is set, it and `workers` make
    `train.batch_size`, a part of the recipe.
    """

    workers: int = Field(default=1, ge=1)
    """Number of training processes; each batch is split among them."""
    min_workers: int | None = Field(default=None, ge=1)
    """Fewest workers that a run on a cluster goes on with where nodes are lost and none comes within
    `cluster_timeout_s`; it grows again when nodes come back. null: `workers`, so it never shrinks."""
    batch_per_worker: int | None = Field(default=None, ge=1)
    """Patches per step of each worker; the other way to say `train.batch_size`, which is then this times `workers`, and
    decides the weights. null: `train.batch_size` says it."""
    use_gpu: Literal["auto"] | bool = "auto"
    """Train on GPUs: true, false, or auto (if there are any; too few for the workers are an error)."""
    accumulate: int = Field(default=1, ge=1)
    """Number of parts in which a worker computes its patches of a step (gradient accumulation), to need less memory."""
    channels_last: bool = True
    """Keep images and features in memory with channels last, which is faster on nearly every device."""
    compile: Literal["auto"] | bool = "auto"
    """Compile the network's forward and backward pass with torch.compile: true, false, or auto (on CPUs where every
    machine has a C++ compiler, in a run that is long enough to pay for the minutes that it takes; on a GPU never, as no
    measurement has shown that it pays there). A run that goes on computes as it began, for the same bits."""
    cuda_graphs: bool = True
    """On a GPU and without `compile`, record the kernels of a step and launch them as one; results are the same."""
    deterministic: bool = False
    """Make every run on a GPU give the same bits, at some cost in speed; on a CPU they are the same in any case."""
    memory_mib: int = Field(default=12288, ge=1)
    """Most MiB of uncompressed images that a worker holds in memory, on its GPU if it has one; without GPUs the workers
    of a machine hold them together."""
    cache_mib: int = Field(default=65536, ge=0)
    """Most MiB of shards, of all runs together, that a machine keeps on its disk; 0: none. A store in a folder of the
    same file system needs no such copy."""
    loader_workers: int = Field(default=1, ge=1)
    """Threads that read shards, in each process."""
    cluster_timeout_s: int = Field(default=300, ge=0)
    """Seconds to wait until a cluster has the resources that the workers need."""
    store_timeout_s: int = Field(default=600, ge=0)
    """Seconds for which the store may fail, in training and while shards are made, before that stops with an error."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of the last checkpoints that are kept, besides the best one."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between two validations; one comes before the first step and after the last. 0: none."""
    validate_on: list[str] = Field(default=[])
    """Evaluation sets that validations measure; empty: the first of `data.evaluation`."""
    log_every: int = Field(default=20, ge=1)
    """Steps between two points of the curves."""
