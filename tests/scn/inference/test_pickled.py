"""A model handle can be pickled and copied, from a GPU too."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from scn.inference.handle import Model


@pytest.mark.parametrize("again", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_it_can_be_pickled_and_copied(small_project: Any, again: Callable[[Model], Model]) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    images = torch.rand(1, 1, 16, 17)
    other = again(model)
    assert torch.equal(other(images), model(images))
    assert (other.task.name, other.level, other.folder) == ("dn", 25, model.folder)
    assert other.network is not model.network


class OnGpu(nn.Linear):
    """Stands for a network on a GPU: weights on meta, from which PyTorch would bring nothing to the CPU."""

    def __init__(self) -> None:
        super().__init__(2, 2, device="meta")

    def cpu(self) -> Any:
        return self.to_empty(device="cpu")


def devices(model: Any) -> set[str]:
    return {tensor.device.type for tensor in model.network.parameters()}


def test_what_was_pickled_on_a_gpu_can_be_loaded_where_there_is_none(small_project: Any) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    model.network = OnGpu()
    assert devices(pickle.loads(pickle.dumps(model))) == {"cpu"}
    assert devices(model) == {"meta"}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_stays_on_the_device(small_project: Any, again: Callable[[Model], Model]) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    model.network = OnGpu()
    model.apply_through(lambda images: images)
    other = again(model)
    assert devices(other) == {"meta"}
    assert (other.network is model.network) == (again is copy.copy)
    assert other._applied is None
    assert model._applied is not None
