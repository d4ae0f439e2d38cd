"""The source files that decide a measured figure, besides the model and the images."""

from scn.core.hashing import code_sha256, sources
from scn.networks.sources import sources_of

_MEASURING = (
    *("scn/evaluation/images.py", "scn/evaluation/measuring.py", "scn/evaluation/metrics.py"),
    *("scn/evaluation/protocols.py", "scn/evaluation/runner.py", "scn/evaluation/sets.py"),
    *(
        "scn/imaging/degradation.py",
        "scn/imaging/tasks.py",
        "scn/imaging/tiles.py",
        "scn/inference/apply.py",
        "scn/inference/ensemble.py",
    ),
    *("scn/inference/model_files.py", "scn/inference/precision.py", "scn/inference/tiled.py"),
    "scn/networks/build.py",
    *("scn/shards/pipeline.py", "scn/shards/samples.py"),
)
_READING = (
    *("scn/corpora/images.py", "scn/corpora/reading.py"),
    *("scn/evaluation/compare.py", "scn/evaluation/photographs.py"),
)
"""What reads and degrades image files that no shard holds."""


def evaluation_code(network: str | None, *, of_files: bool = False) -> str:
    """Returns the SHA-256 of the sources that decide the figures of a model whose network is called `network`.

    Args:
        network: None stands for no model: figures of the degraded input.
        of_files: the images are files, as in scn.evaluation.compare, and not samples of shards.
    """
    measuring = [*_MEASURING, *(_READING if of_files else ())]
    return code_sha256([*sources(*measuring), *(sources_of(network) if network else [])])
