"""The plug-in for spandrel, with spandrel itself."""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.core.errors import UserError
from scn.inference.handle import Model
from scn.inference.model_files import save_model
from scn.networks.build import build

try:
    import spandrel

    from scn.registry.for_spandrel import ScnArchitecture, _digest, install
except (ImportError, RuntimeError, UserError) as error:  # torchvision beside a PyTorch that it was not built for
    pytest.skip(f"needs the extra spandrel ({error})", allow_module_level=True)

SMALL = {"name": "scn", "blocks": 2, "units": 4, "width": 3, "scales": 3}


def saved(folder: Path, **parameters: Any) -> Path:
    architecture = {**SMALL, **parameters}
    task = "sr" if architecture.get("scale", 1) > 1 else "dn"
    save_model(
        folder, build(architecture, seed=len(folder.name) + architecture["scales"]), architecture, {"task": task}
    )
    return folder


def restored(folder: Path, registry: spandrel.ArchRegistry, channels: int) -> Any:
    """What spandrel gives for weights that lie alone, beside what the model's handle gives."""
    alone = folder.with_suffix(".safetensors")
    shutil.copy(folder / "model.safetensors", alone)
    model = spandrel.ModelLoader(registry=registry).load_from_file(alone)
    image = torch.rand(1, channels, 21, 34, generator=torch.Generator().manual_seed(0))
    return model, model(image), Model(folder, "cpu")(image)  # type: ignore[operator]


@pytest.mark.parametrize(
    "parameters",
    [{"scale": 1, "channels": 1}, {"scale": 2}, {"scale": 3, "kernel": 5}, {"scale": 1, "factorised": False}],
)
def test_weights_are_found_by_their_keys(parameters: dict[str, Any], tmp_path: Path) -> None:
    registry = spandrel.MAIN_REGISTRY.copy()
    install(scales=3, registry=registry)
    channels = parameters.get("channels", 3)
    model, found, expected = restored(saved(tmp_path / "m", **parameters), registry, channels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert model.architecture.id == "SCN"
    assert (model.scale, model.input_channels, model.output_channels) == (parameters["scale"], channels, channels)
    assert model.purpose == ("SR" if model.scale > 1 else "Restoration")
    assert "SCN" not in spandrel.MAIN_REGISTRY


def test_what_the_weights_do_not_say_is_taken_from_the_folder_or_asked_for(tmp_path: Path) -> None:
    registry = spandrel.MAIN_REGISTRY.copy()
    folder, other = saved(tmp_path / "a", ends="zero", scales=2), saved(tmp_path / "b")
    install([folder], registry=registry)
    model, found, expected = restored(folder, registry, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert model.tags == ["4u", "2b", "2 scales"]
    with pytest.raises(UserError, match=r"don't say how many scales it has: call install\(scales=N\), or install with"):
        restored(other, registry, 3)
    install([folder], scales=3, registry=registry)
    _, found, expected = restored(other, registry, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match=r"c holds no model \(.*\): name folders with model\.safetensors and config"):
        install([tmp_path / "c"], registry=registry)


def test_weights_of_any_type_and_on_any_device_are_looked_up() -> None:
    state = build({**SMALL, "weight_norm": False}, seed=0).state_dict()
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        converted = {key: tensor.to(kind) for key, tensor in state.items()}
        model = ScnArchitecture({_digest(converted): SMALL}, None).load(converted)
        assert model.tags == ["4u", "2b", "3 scales"]
    if torch.cuda.is_available():
        assert _digest({key: tensor.cuda() for key, tensor in state.items()}) == _digest(state)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(2.5), torch.zeros(0), torch.ones(2, 3, requires_grad=True), torch.ones(2, 3, 4, 4)[:, :, ::2]],
)
def test_any_tensor_has_a_digest(tensor: torch.Tensor) -> None:
    plain = sha256(b"a" + tensor.detach().contiguous().numpy().tobytes()).hexdigest()
    assert _digest({"a": tensor}) == plain


def test_models_that_ship_are_known(tmp_path: Path) -> None:
    registry = spandrel.MAIN_REGISTRY.copy()
    folder = saved(tmp_path / "zoo" / "dn-s25", channels=1, scales=2)  # the tests' zoo
    (folder / "manifest.json").write_text("{}")
    install(registry=registry)
    _, found, expected = restored(folder, registry, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_it_takes_no_other_network_for_scn(tmp_path: Path) -> None:
    registry = spandrel.MAIN_REGISTRY.copy()
    install(scales=3, registry=registry)
    scn = registry["SCN"]
    for name in ("edsr", "wdsr", "scn-unet", "srresnet", "dncnn"):
        assert not scn.detect(build({"name": name, "scale": 2}).state_dict()), name
    # no other architecture takes ours for its own, either
    state = build({**SMALL, "weight_norm": False}).state_dict()
    assert [each.architecture.id for each in registry if each.detect(state)] == ["SCN"]
