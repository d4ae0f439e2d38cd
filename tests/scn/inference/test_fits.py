"""A model fits the experiment that describes the same network."""

import json
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.inference.model_config import check_fits
from scn.inference.model_files import load_model
from scn.registry.publish import publish


def test_a_model_of_before_a_parameter_existed_fits_and_is_published_again(small_project: Any) -> None:
    folder = small_project.add_model("dn-s25")
    small_project.add_metrics("dn-s25")
    published = publish(small_project.params, "dn-s25")
    config = json.loads((folder / "config.json").read_text())
    assert "initial" not in config["architecture"]  # or no scn of before the key could load it
    assert config["architecture"].pop("factorised") is True
    (folder / "config.json").write_text(json.dumps(config))
    path = small_project.root / "params.yaml"
    for text in (path.read_text(), path.read_text().replace("units: 4", "units: 4\n  initial: authors")):
        path.write_text(text)  # how a training begins is no part of what the network is
        check_fits(load_model(folder)[1], folder, small_project.params.experiment("dn-s25"))
    assert small_project.params.experiment("dn-s25").architecture()["initial"] == "authors"
    again = publish(small_project.params, "dn-s25")
    assert again != published
    config["architecture"]["units"] = 5
    with pytest.raises(UserError, match="another architecture"):
        check_fits(config, folder, small_project.params.experiment("dn-s25"))
