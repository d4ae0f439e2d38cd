"""How a training is carried out: the section `run` of params.yaml. Nothing in it changes the weights."""

from typing import Literal

from pydantic import Field

from scn.core.schema import Section


class RunConfig(Section):
    """Workers, devices, memory, checkpoints, logging and patience of a training.

    A change of any of these keys changes a result by rounding at most; no stage of DVC becomes stale by it, and an
    unfinished run goes on.
    """

    workers: int = Field(default=1, ge=1)
    """Processes of Ray Train; a batch is split among them."""
    use_gpu: Literal["auto"] | bool = "auto"
    """Whether to train on GPUs; auto: where there is one for every worker."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a worker's patches of a step are computed in, one after the other, to need less memory."""
    channels_last: bool = True
    """Memory layout of images and features: channels last, which is faster nearly everywhere."""
    compile: bool = False
    """Whether torch.compile makes the network's forward and backward pass."""
    deterministic: bool = False
    """The same bits from every run on a GPU, at some cost in speed; on a CPU they are the same in any case."""
    memory_mib: int = Field(default=12288, ge=1)
    """MiB of images that a worker may hold in memory, on its GPU where it has one, uncompressed."""
    cache_mib: int = Field(default=65536, ge=0)
    """MiB of shards that a machine keeps on its disk where images come in groups (`train.group_mib`)."""
    loader_workers: int = Field(default=1, ge=1)
    """Threads per process that read shards."""
    cluster_timeout_s: int = Field(default=300, ge=0)
    """Seconds to wait for a cluster to have what the workers need."""
    store_timeout_s: int = Field(default=600, ge=0)
    """Seconds for which the store may fail before the run stops."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of the last checkpoints that are kept, besides the best one."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between two validations; one comes before the first step and after the last. 0: none."""
    validate_on: list[str] = Field(default=[])
    """Evaluation sets that validations measure; empty: the first one."""
    log_every: int = Field(default=20, ge=1)
    """Steps between two points of the curves."""
