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


def evaluation_code(network: str | None) -> str:
    """Returns the SHA-256 of the sources that decide the figures of a model whose network is called `network`.

    None stands for no model: figures of the degraded input.
    """
    return code_sha256([*sources(*_MEASURING), *(sources_of(network) if network else [])])
