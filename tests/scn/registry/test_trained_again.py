"""A model that is trained again to the same weights is the version that is published, whatever the training took."""

import json
from typing import Any

from scn.registry.publish import publish
from scn.storage import open_store
from scn.storage.base import Store

NAME = "dn-s25"


def store_of(project: Any) -> Store:
    return open_store(project.params.storage.url, project.root)


def describe(project: Any, **values: object) -> None:
    """Changes what the model's config.json says."""
    path = project.root / "models" / NAME / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_same_weights_trained_again_are_not_new_because_it_took_other_seconds(small_project: Any) -> None:
    project = small_project
    project.add_model(NAME)
    project.add_metrics(NAME)
    made_by = {"identity": {"train": {}}, "steps": 3, "seconds": 1, "machine": "one", "commit": "1" * 40}
    describe(project, **made_by)
    receipt = publish(project.params, NAME)
    assert "3 steps, 1 s, on one" in store_of(project).get(f"registry/{NAME}/v1/README.md").decode()
    before = store_of(project).list()
    describe(project, seconds=2, machine="another", commit="2" * 40)
    assert publish(project.params, NAME) == receipt
    assert store_of(project).list() == before
    describe(project, steps=4)  # decides
    assert publish(project.params, NAME).version == "v2"
    assert "4 steps, 2 s, on another" in store_of(project).get(f"registry/{NAME}/v2/README.md").decode()
    project.add_metrics(NAME, psnr=31.0)
    describe(project, seconds=3)
    assert publish(project.params, NAME).version == "v3"
    assert '"seconds": 3' in store_of(project).get(f"registry/{NAME}/v3/config.json").decode()
