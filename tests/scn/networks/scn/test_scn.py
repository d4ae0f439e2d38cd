"""The network is the published one, and what is built on it (resampling, folding, files) keeps its function."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scn.config.params import load_params
from scn.core.errors import UserError
from scn.inference.model_files import load_model, save_model
from scn.networks.build import build, fold
from scn.registry.authors import convert

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "reference"
NEIGHBOURS = ("finer1", "coarser1")
SMALL = {
    "name": "scn",
    "blocks": 2,
    "units": 8,
    "width": 2,
    "scales": 3,
    "ratio": 0.5,
    "channels": 3,
    "scale": 2,
}


@pytest.mark.parametrize("name", ["golden_scn_sr_x2", "golden_scn_sr_x3_oddsize", "golden_scn_dn_gray"])
def test_equals_the_authors_network(name: str) -> None:
    file = GOLDEN / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"the golden vectors are not here: {name}.npz")
    with np.load(file) as golden:
        arrays = {key: torch.from_numpy(golden[key]) for key in golden.files}
    blocks, units, scales, scale, channels = arrays["meta"].tolist()
    architecture = {**SMALL, "blocks": blocks, "units": units, "width": 4, "scales": scales}
    network = build({**architecture, "channels": channels, "scale": scale})
    network.load_state_dict(
        convert({k.removeprefix("state."): v for k, v in arrays.items() if k.startswith("state.")}, blocks)
    )
    assert (network(arrays["input"]) - arrays["output"]).abs().max() <= 1e-5
    with torch.inference_mode():  # the other way of resampling, weight normalisation folded
        assert (fold(network)(arrays["input"]) - arrays["output"]).abs().max() <= 1e-5


def test_parameter_count_is_the_published_one() -> None:
    network = build({**SMALL, "blocks": 16, "units": 32, "width": 4, "scales": 4})
    assert sum(p.numel() for p in network.parameters()) == 1_224_916
    assert sum(p.numel() for p in fold(network).parameters()) == 1_221_276


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("scales", "ratio"), [(1, 0.5), (4, 0.5), (3, 0.7)])
def test_every_shape_forward_and_backward(scale: int, channels: int, scales: int, ratio: float) -> None:
    network = build({**SMALL, "channels": channels, "scale": scale, "scales": scales, "ratio": ratio}, seed=1)
    image = torch.rand(2, channels, 19, 13)
    output = network(image)
    assert output.shape == (2, channels, 19 * scale, 13 * scale)
    output.square().mean().backward()
    # The last block's `down` leads to scale 1 only, which nothing reads any more; one scale has no neighbours.
    cross = "trunk.blocks.{}.scale_wise.cross.{}"
    silent = {cross.format(1, "finer1")} if scales > 1 else {cross.format(i, q) for i in (0, 1) for q in NEIGHBOURS}
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(tuple(silent)), name
        assert parameter.requires_grad == (parameter.grad is not None), name


@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_the_authors_initial_weights_have_the_norms_of_their_code(weight_norm: bool, shared: bool) -> None:
    """Without biases, the norm of a filter is its gain; what is drawn is the same."""
    architecture = {**SMALL, "blocks": 4, "weight_norm": weight_norm, "shared": shared}
    usual, network = (fold(build({**architecture, "initial": initial}, seed=0)) for initial in ("default", "authors"))
    told = {"head": 1.0, "tail": 1.0, "skip": 1.0, "expand": 2.0, "spatial": 0.5}  # 1 / sqrt(4)
    before = dict(usual.named_parameters())
    for name, parameter in network.named_parameters():
        norm = next((told[part] for part in name.split(".") if part in told), None)
        if norm is None:
            assert torch.equal(parameter, before[name]), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            expected = before[name] * norm / before[name].flatten(1).norm(dim=1)[:, None, None, None]
            torch.testing.assert_close(parameter, expected)


def test_with_many_blocks_the_authors_initial_weights_begin_nearer() -> None:
    """The figures of docs/networks/scn.md for 64 blocks of 64 units."""
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    enlarged = torch.nn.functional.interpolate(image, scale_factor=2)
    size = {"name": "scn", "blocks": 64, "units": 64, "scales": 4, "scale": 2}
    with torch.inference_mode():
        usual, authors = (build({**size, "initial": i}, seed=0)(image) for i in ("default", "authors"))
    assert (usual - enlarged).abs().mean() == pytest.approx(37, abs=1)
    assert (authors - enlarged).abs().mean() == pytest.approx(6.75, abs=0.2)


@pytest.mark.parametrize("scale", [1, 2])
def test_under_autocast_the_last_sums_are_in_the_images_precision(scale: int) -> None:
    network = fold(build({**SMALL, "scale": scale}, seed=0))
    image = torch.rand(1, 3, 9, 8)
    with torch.inference_mode():
        exact = network(image)
        for parameter in network.get_submodule("trunk").parameters():
            parameter.zero_()  # the rest is linear, and bfloat16 only between head and tail
        rest = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(image)
    assert rounded.dtype == torch.float32
    assert (rounded - rest).abs().max() < 2e-3 < (exact - rest).abs().max()
    assert network.bfloat16()(image.bfloat16()).dtype == torch.bfloat16


def test_scales_and_ratio_can_change_after_training() -> None:
    network = build(SMALL, seed=0)
    image = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        three = network(image)
        assert not torch.equal(network.set_pyramid(scales=4)(image), three)
        assert not torch.equal(network.set_pyramid(scales=3, ratio=0.7)(image), three)
        torch.testing.assert_close(network.set_pyramid(ratio=0.5)(image), three)


def test_a_saved_model_is_the_same_function(tmp_path: Path) -> None:
    network = build(SMALL, seed=0)
    image = torch.rand(1, 3, 20, 17)
    with torch.inference_mode():
        expected = network(image)
        save_model(tmp_path / "m", network, SMALL, {"experiment": "sr-x2"})
        loaded, config = load_model(tmp_path / "m")
        torch.testing.assert_close(loaded(image), expected, atol=1e-6, rtol=0)
    assert config["experiment"] == "sr-x2"
    assert not loaded.training
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors"]


def test_bad_model_folders_get_a_sentence(tmp_path: Path) -> None:
    save_model(tmp_path, build(SMALL, seed=0), SMALL, {})
    other = tmp_path / "other"
    save_model(other, build({**SMALL, "units": 12}, seed=0), {**SMALL, "units": 12}, {})
    (other / "config.json").write_bytes((tmp_path / "config.json").read_bytes())
    with pytest.raises(UserError, match="weights of another architecture"):
        load_model(other)
    version, correct = "use another version of the model", r"correct config\.json there"
    for newer, why, or_else in (
        ({**SMALL, "windowed": True}, r"'windowed' is no known key \(at the top level\)", version),
        ({**SMALL, "name": "mamba"}, "'mamba' is no known network", version),
        ({**SMALL, "ends": "mirrored"}, "ends: input should be 'published', 'zero' or 'replicate'", version),
        ({**SMALL, "name": "dncn"}, "'dncn' is no known network: did you mean 'dncnn'", correct),
        ({**SMALL, "unit": 8}, r"'unit' is no known key \(at the top level\): did you mean 'units'", correct),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"architecture": newer}))
        told = rf"^{tmp_path} holds a model .* does not know \({why}\): update scn, or {or_else}\.$"
        with pytest.raises(UserError, match=told):
            load_model(tmp_path)
    for damage, why in (
        ({"units": "32"}, "units: input should be a valid integer"),
        ({"blocks": -1}, "blocks: input should be greater than or equal to 1"),
        ({"ends": 3}, "ends: input should be 'published', 'zero' or 'replicate'"),
        ({"channels": 7}, r"The network's images can't have 7 channels: use 3 \(RGB\) or 1 \(grey\)"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"architecture": {**SMALL, **damage}}))
        told = rf"^{tmp_path}/config\.json is damaged \({why}\): correct it, or fetch or train the model again\.$"
        with pytest.raises(UserError, match=told):
            load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": 5}')
    with pytest.raises(UserError, match=r"damaged model \(its architecture is no table of parameters"):
        load_model(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="damaged model"):
        load_model(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_model(tmp_path)


def test_wrong_channels_and_unknown_networks_get_a_sentence() -> None:
    with pytest.raises(UserError, match=r"shape \(N, 3, H, W\)"):
        build(SMALL)(torch.rand(1, 1, 16, 16))
    with pytest.raises(UserError, match="'scm' is no known network: did you mean 'scn'"):
        build({**SMALL, "name": "scm"})
    with pytest.raises(UserError, match="'depth' is no known key"):
        build({**SMALL, "depth": 3})


def test_the_shipped_configuration_builds_all_ten() -> None:
    params = load_params(Path(__file__).resolve().parents[4] / "params.yaml")
    assert len(params.experiments) == 10
    for experiment in params.experiments.values():
        image = torch.rand(1, experiment.task.image_channels, 16, 16)
        with torch.inference_mode():
            assert build(experiment.architecture())(image).shape[-1] == 16 * experiment.scale
