"""The table of networks, and building a network of it by name."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from scn.core.errors import UserError
from scn.networks import NETWORKS, network_config
from scn.networks.build import build, create_model


def test_a_row_stands_under_the_name_of_its_config() -> None:
    assert [row.name for row in NETWORKS.values()] == list(NETWORKS)


def test_the_table_and_what_reads_it_need_no_pytorch() -> None:
    program = (
        "import sys, scn.networks, scn.networks.sources as s; s.sources_of('scn'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_may_be_split_unless_they_are_normalised(name: str) -> None:
    assert network_config({"name": name}, "-").splits_batches == (name != "dncnn")


@pytest.mark.parametrize("name", NETWORKS)
def test_create_model_makes_the_papers_network(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    assert (network.channels, network.scale) == (NETWORKS[name].channels, NETWORKS[name].scale)
    assert type(network).__name__ == NETWORKS[name].implementation.partition(":")[2]


def test_create_model_takes_parameters_and_a_seed() -> None:
    network = create_model("vdsr", channels=3, scale=2, seed=5, layers=3, units=4)
    same = build({"name": "vdsr", "layers": 3, "units": 4, "channels": 3, "scale": 2}, seed=5)
    for first, second in zip(network.parameters(), same.parameters(), strict=True):
        assert torch.equal(first, second)
    assert network(torch.rand(1, 3, 5, 4)).shape == (1, 3, 10, 8)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("srresnt", {}, "'srresnt' is no known network: did you mean 'srresnet'"),
        ("vdsr", {"layres": 3}, "'layres' is no known key"),
        ("vdsr", {"units": 0}, "units: input should be greater than or equal to 1"),
        ("vdsr", {"channels": 2}, "can't have 2 channels"),
        ("vdsr", {"scale": 17}, "can't enlarge 17 times"),
        ("scn-unshared", {"shared": True}, "'shared' is no known key"),
    ],
)
def test_create_model_tells_mistakes_in_a_sentence(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_model(name, **parameters)
