"""A model whose network is compiled: it restores the same, and a machine that can't compile is told."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scn.core.errors import UserError
from scn.inference.handle import Model
from scn.inference.model_files import save_model
from scn.networks.build import build


def test_compiled_it_restores_the_same(
    small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # others test networks by inductor
    model = Model(small_project.add_model("dn-s25"), "cpu")
    images, pixels = [torch.rand(2, 1, side, side + 3) for side in (16, 21)], photograph(180, 190, 1)
    expected = [model(each) for each in images]
    whole, tiled = model.restore(pixels), model.restore(pixels, tile=96)
    assert model.compile() is model
    for each, result in zip(images, expected, strict=True):
        torch.testing.assert_close(model(each), result, rtol=0, atol=1e-5)
    assert np.abs(model.restore(pixels).astype(int) - whole).max() <= 1
    assert np.array_equal(model.restore(pixels, tile=96), tiled)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(images[0]), expected[0])


def test_a_pyramid_is_compiled_for_any_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch 2.13 failed at numbers that follow from the sizes, before it came to its compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    architecture = {"name": "scn", "channels": 1, "scale": 1, "blocks": 1, "units": 4, "width": 2, "scales": 3}
    save_model(tmp_path, build(architecture, seed=0), architecture, {"task": "dn", "level": 25})
    model = Model(tmp_path, "cpu")
    images = [torch.rand(1, 1, side, side + 5) for side in (41, 64)]
    expected = [model(each) for each in images]
    model.compile()
    for each, result in zip(images, expected, strict=True):
        torch.testing.assert_close(model(each), result, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "channels"), [("dn-s25", 1), ("sr-x2", 3)])
def test_it_is_compiled_before_the_first_image_comes(
    small_project: Any, monkeypatch: pytest.MonkeyPatch, name: str, channels: int
) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = Model(small_project.add_model(name), "cpu").compile()
    assert (model.channels, len(graphs)) == (channels, 1)
    model.restore(np.full((163, 157, channels), 0.5, np.float32))  # whose rows hold pixels, not planes
    with torch.inference_mode():
        made_inside = torch.rand(1, channels, 171, 155)
    given = torch.rand(1, channels, 161, 171), torch.rand(1, channels, 181, 173, dtype=torch.float64), made_inside
    for images in given:
        model(images)
    assert len(graphs) == 1


def test_a_machine_that_can_not_compile_is_told(small_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler found in CXX: [None]\nand more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: refuses)
    model = Model(small_project.add_model("dn-s25"), "cpu")
    with pytest.raises(
        UserError, match=r"^PyTorch can't compile the network here \(No working C\+\+ compiler .*\): ins"
    ):
        model.compile()
    assert model(torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)
