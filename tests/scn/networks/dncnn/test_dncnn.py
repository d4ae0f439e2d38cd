"""DnCNN has the paper's layers, and its batch can't be split where it is normalised."""

import pytest

from scn.networks import network_config
from scn.networks.build import build


@pytest.mark.parametrize("batch_norm", [False, True])
def test_dncnn_normalises_all_but_the_first_and_the_last_layer(batch_norm: bool) -> None:
    network = build({"name": "dncnn", "layers": 5, "units": 4, "batch_norm": batch_norm})
    kinds = [type(layer).__name__ for layer in network.get_submodule("layers")]
    inner = ["Convolution", "BatchNorm2d", "ReLU"] if batch_norm else ["Convolution", "ReLU"]
    assert kinds == ["Convolution", "ReLU", *inner * 3, "Convolution"]


def test_batch_normalisation_reads_the_whole_batch() -> None:
    assert not network_config({"name": "dncnn"}, "-").splits_batches
    assert network_config({"name": "dncnn", "batch_norm": False}, "-").splits_batches
