"""The shards of an experiment as the rows of a table, for those who look at a run."""

from scn.config.params import Params
from scn.shards.manifest import ImageSet, evaluation_manifest, training_manifest


def rows(params: Params, name: str) -> list[dict[str, str]]:
    """The image sets of an experiment, that of training first, and what their shards hold.

    Raises:
        UserError: if its manifests are missing or those of another experiment.
    """
    train, evaluation = training_manifest(params, name), evaluation_manifest(params, name)
    sets = {"training": train, **evaluation.sets}
    return [{"experiment": name, "set": of_set, **_row(images)} for of_set, images in sets.items()]


def _row(images: ImageSet) -> dict[str, str]:
    return {
        "images": str(images.images),
        "not usable": str(len(images.refused)),
        "samples": str(images.samples),
        "shards": str(len(images.shards)),
        "MB": f"{sum(shard.bytes for shard in images.shards) / 1e6:.1f}",
        "content": images.content[:9],
    }
