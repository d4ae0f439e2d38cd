"""Export to ONNX: any size, compared with onnxruntime, and what the file says of itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scn.cli import app
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.inference import export
from scn.inference.handle import Model
from scn.networks.base.layers import RestorationNetwork
from scn.networks.build import create_model

onnx = pytest.importorskip("onnx", reason="needs the extra onnx: pip install 'scn[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx: pip install 'scn[onnx]'")
pytest.importorskip("onnxscript", reason="needs the extra onnx: pip install 'scn[onnx]'")


def test_a_model_is_the_same_in_onnxruntime_at_any_size(
    small_project: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_project.add_model("sr-x2")
    model, file = Model(folder, "cpu"), tmp_path / "out" / "sr-x2.onnx"
    file.parent.mkdir()
    app(["export", "--model", str(folder), str(file)], standalone_mode=False)
    assert capsys.readouterr().out.startswith(f"{file}: onnxruntime's values differ from PyTorch's by ")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 8, 8), (3, 3, 41, 50), (1, 3, 64, 72), (2, 3, 200, 13), (1, 3, 43, 48)):
        images = torch.rand(shape)
        (restored,) = session.run(None, {"image": images.numpy()})
        np.testing.assert_allclose(restored, model(images).numpy(), rtol=0, atol=1e-5)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    assert [(each.name, each.type, each.shape[1]) for each in inputs] == [("image", "tensor(float)", 3)]
    assert [(each.name, each.type) for each in outputs] == [("restored", "tensor(float)")]
    about = session.get_modelmeta().custom_metadata_map
    assert about.pop("scn_version")
    assert about == {
        **{"task": "sr", "level": "2", "scale": "2", "channels": "3", "value_range": "0 1", "network": "scn"},
        "weights_sha256": file_sha256(folder / "model.safetensors"),
    }
    assert b".py" not in file.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["sr-x2.onnx"]


def test_the_callers_autocast_is_no_part_of_the_graph(small_project: Any, tmp_path: Path) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    with torch.autocast("cpu", torch.bfloat16):
        exported = model.export("onnx", tmp_path / "a.onnx")
    assert exported.difference is not None
    assert exported.difference < 1e-5


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("scalewise-original", {}),  # sides are divided, and rounded up
        ("scalewise-adaptive", {}),  # normalises features, of a single pixel, too
        ("scn", {"ratio": 0.7}),  # sides times 0.7 are rounded, 17.5 to 18
    ],
)
def test_sizes_that_a_network_rounds_are_rounded_alike(name: str, parameters: dict[str, float], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model(name, blocks=1, units=8, scales=4, channels=1, scale=1, **parameters).eval()
    export.export_onnx(network, {"network": name}, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    for height, width in ((8, 8), (9, 15), (25, 13), (35, 45), (47, 90)):
        images = torch.rand(1, 1, height, width)
        with torch.inference_mode():
            expected = network(images).clamp(0, 1)
        (restored,) = session.run(None, {"image": images.numpy()})
        np.testing.assert_allclose(restored, expected.numpy(), rtol=0, atol=1e-5)


class Imprecise(RestorationNetwork):
    """Multiplies what float32 rounds to 2e-4, in which runtimes, whose functions round by themselves, differ."""

    def restore(self, image: Tensor) -> Tensor:
        return torch.exp(7 * image).sin() / 2 + 0.5


class Different(RestorationNetwork):
    """Computes another thing where it is exported, by less than what is rounding in Imprecise."""

    def restore(self, image: Tensor) -> Tensor:
        return image + 2e-5 if torch.compiler.is_exporting() else image + 0


def test_a_difference_is_allowed_where_float32_rounds_by_as_much(tmp_path: Path) -> None:
    exported = export.export_onnx(Imprecise(channels=1, scale=1), {"network": "theirs"}, tmp_path / "a.onnx")
    assert exported.difference is not None
    assert exported.difference > export.TOLERANCE
    with pytest.raises(UserError, match=r"values are off by 2\.\d+e-05\): take"):
        export.export_onnx(Different(channels=1, scale=1), {"network": "theirs"}, tmp_path / "b.onnx")


class Frozen(RestorationNetwork):
    """Adds rows up to a multiple of 41 * 53, if there are too few, as what a network finds at one size only."""

    def restore(self, image: Tensor) -> Tensor:
        if image.shape[-1] % 53 == 0 and image.shape[-2] % 41 == 0:
            return image
        return image.flip(-1)


class Impossible(RestorationNetwork):
    """Depends on its values, so that no graph is the same for all."""

    def restore(self, image: Tensor) -> Tensor:
        return image if bool(image.sum() > 0) else -image


def test_what_can_not_be_exported_for_all_sizes_is_refused(tmp_path: Path) -> None:
    file, about = tmp_path / "a.onnx", {"network": "theirs"}
    with pytest.raises(
        UserError, match=r"^The network theirs can't .* \(onnxruntime's values are off by 0\.\d+\): take"
    ):
        export.export_onnx(Frozen(channels=1, scale=1), about, file)
    with pytest.raises(
        UserError, match=r"^The network theirs can't be exported for images of any size \([^\n]*\): take"
    ):
        export.export_onnx(Impossible(channels=1, scale=1), about, file)
    assert not file.exists()


def test_what_the_user_may_do_wrong_is_told(
    small_project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    with pytest.raises(UserError, match=r"'onx' is no known format of exports: did you mean 'onnx'"):
        model.export("onx", tmp_path / "a.onnx")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"a\.pt: an export is an ONNX file: name it .*a\.onnx\.$"):
        app(["export", "--model", str(model.folder), str(tmp_path / "a.pt")], standalone_mode=False)
    for place in (tmp_path, Path(), Path("/")):
        with pytest.raises(UserError, match=r": an export is an ONNX file: name it .*/?dn-s25\.onnx\.$"):
            app(["export", "--model", str(model.folder), str(place)], standalone_mode=False)
    with pytest.raises(UserError, match=r"was converted from float32, .*: load it again"):
        model.double().export("onnx", tmp_path / "a.onnx")
    for converted in (Model.half, Model.float):  # rounded, and not made exact again
        with pytest.raises(
            UserError, match=r"^The model's weights are not those of .*dn-s25/model\.safetensors any .*:"
        ):
            converted(model).export("onnx", tmp_path / "a.onnx")
    model = Model(model.folder, "cpu")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the packages onnx and onnxscript: .* pip install 'scn\[onnx\]'\.$"):
        model.export("onnx", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
