"""The table of an experiment's shards says what its manifests say."""

from typing import Any

import numpy as np

from scn.shards.summary import rows


def test_every_set_of_images_has_a_row(small_project: Any) -> None:
    image = np.zeros((32, 40, 1), np.uint8)
    manifests = small_project.add_shards("dn-s25", {"a": image, "b": image})
    shown = rows(small_project.params, "dn-s25")
    assert [(row["experiment"], row["set"], row["images"], row["not usable"]) for row in shown] == [
        ("dn-s25", "training", "2", "0"),
        *(("dn-s25", name, "2", "0") for name in manifests.evaluation.sets),
    ]
    [shard] = manifests.train.shards
    assert (shown[0]["samples"], shown[0]["shards"], shown[0]["MB"]) == ("2", "1", f"{shard.bytes / 1e6:.1f}")
    assert shown[0]["content"] == manifests.train.content[:9]
