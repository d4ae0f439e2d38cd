"""Checkpoints of the authors become model folders of the same function; anything else is refused, and never run."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import scn
from scn.core.errors import UserError
from scn.inference.handle import Model
from scn.inference.model_files import load_model
from scn.networks import completed
from scn.networks.build import build
from scn.registry.authors import convert
from scn.registry.imports import import_model

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "reference"
SMALL: dict[str, Any] = {"name": "scn", "blocks": 2, "units": 8, "width": 3, "scales": 3, "channels": 3, "scale": 2}
THEIRS = {"original0": "weight_g", "original1": "weight_v", "bias": "bias", "weight": "weight"}
LAYERS = {
    "expand": "body.0",
    "scale_wise.spatial": "body.2",
    "scale_wise.cross.finer1": "down.0",
    "scale_wise.cross.coarser1": "up.0",
}


def in_their_layout(state: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """The inverse of scn.registry.authors.convert, written independently of it."""
    theirs = {}
    for key, tensor in state.items():
        layer, _, leaf = key.replace(".parametrizations.weight", "").rpartition(".")
        if layer.startswith("trunk.blocks."):
            number, _, layer = layer.removeprefix("trunk.blocks.").partition(".")
            layer = f"body.{int(number) + 2}.{LAYERS[layer]}"
        else:
            layer = {"head": "body.0", "tail": f"body.{blocks + 3}", "skip": "skip.0"}[layer]
        theirs[f"{layer}.{THEIRS[leaf]}"] = tensor
    return theirs


def checkpoint(path: Path, **changes: Any) -> tuple[Path, torch.nn.Module]:
    """Writes a file in the authors' layout; returns it and the network that it holds."""
    architecture = SMALL | changes
    network = build(architecture, seed=1)
    state = in_their_layout(network.state_dict(), architecture["blocks"])
    torch.save({"epoch": 30, "model_state_dict": state}, path)
    return path, network


@pytest.mark.parametrize("name", ["golden_scn_sr_x2", "golden_scn_sr_x3_oddsize", "golden_scn_dn_gray"])
def test_an_imported_model_has_the_output_of_the_authors_network(name: str, tmp_path: Path) -> None:
    file = GOLDEN / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"the golden vectors are not here: {name}.npz")
    with np.load(file) as golden:
        arrays = {key: torch.from_numpy(golden[key]) for key in golden.files}
    blocks, units, scales, scale, channels = arrays["meta"].tolist()
    state = {key.removeprefix("state."): value for key, value in arrays.items() if key.startswith("state.")}
    torch.save({"model_state_dict": state}, tmp_path / "theirs.pt")
    task = "dn" if scale == 1 else None
    architecture = import_model(tmp_path / "theirs.pt", tmp_path / "model", scales=scales, task=task)
    expected = {"blocks": blocks, "units": units, "width": 4, "scales": scales, "scale": scale, "channels": channels}
    assert expected.items() <= architecture.items()
    output = load_model(tmp_path / "model")[0](arrays["input"])
    torch.testing.assert_close(output, arrays["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        scn.load(tmp_path / "model")(arrays["input"]), arrays["output"].clamp(0, 1), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale": 3, "blocks": 1},
        {"scale": 4, "width": 4, "scales": 1},
        {"scale": 1, "channels": 1},
        {"weight_norm": False},
    ],
)
def test_random_weights_there_and_back_again(changes: dict[str, Any], tmp_path: Path) -> None:
    file, network = checkpoint(tmp_path / "theirs.pt", **changes)
    task = "car" if changes.get("scale") == 1 else None
    scales = changes.get("scales", 3)
    architecture = import_model(file, tmp_path / "model", scales=scales, task=task)
    assert (SMALL | changes).items() <= architecture.items()
    loaded, config = load_model(tmp_path / "model")
    image = torch.rand(2, architecture["channels"], 19, 13)
    torch.testing.assert_close(loaded(image), network(image), atol=1e-6, rtol=0)
    assert completed(config["architecture"]) == architecture
    assert config["task"] == (task or "sr")
    assert config["imported"]["format"] == "ychfan-scn"
    assert len(config["imported"]["sha256"]) == 64


def test_a_bare_state_dict_of_data_parallel(tmp_path: Path) -> None:
    _, network = checkpoint(tmp_path / "theirs.pt")
    state = in_their_layout(network.state_dict(), SMALL["blocks"])
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "bare.pt")
    import_model(tmp_path / "bare.pt", tmp_path / "model", scales=3)
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(load_model(tmp_path / "model")[0](image), network(image), atol=1e-6, rtol=0)


def test_convert_is_the_inverse_of_their_layout() -> None:
    state = build(SMALL, seed=0).state_dict()
    back = convert(in_their_layout(state, SMALL["blocks"]), SMALL["blocks"])
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_an_imported_model_restores_a_photograph(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    from PIL import Image

    file, _ = checkpoint(tmp_path / "theirs.pt")
    import_model(file, tmp_path / "model", scales=3)
    Image.fromarray(photograph(20, 30)).save(tmp_path / "in.png")
    Model(tmp_path / "model").restore(tmp_path / "in.png").save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (60, 40)


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        ({"scale": 1, "channels": 1}, None, "add --task dn or --task car"),
        (
            {"scale": 1, "channels": 1},
            "sr",
            "of scale 1 for grey images, but sr needs a scale from 2 and RGB images: use --task dn or --task car, or",
        ),
        ({"scale": 1}, "dn", "of scale 1 for RGB images, which no task has .sr needs .*, dn needs scale 1 and grey"),
        ({"scale": 1}, None, "of scale 1 for RGB images, which no task has"),
        ({"channels": 1}, None, "of scale 2 for grey images, which no task has"),
        ({}, "car", "of scale 2 for RGB images, but car needs scale 1 and grey images: use --task sr, or another"),
        ({}, "den", "'den' is no known task: did you mean 'dn'"),
    ],
)
def test_the_task_must_fit(changes: dict[str, Any], task: str | None, message: str, tmp_path: Path) -> None:
    file, _ = checkpoint(tmp_path / "theirs.pt", **changes)
    with pytest.raises(UserError, match=message):
        import_model(file, tmp_path / "model", scales=3, task=task)
    assert not (tmp_path / "model").exists()


def test_what_is_there_stays(tmp_path: Path) -> None:
    file, _ = checkpoint(tmp_path / "theirs.pt")
    import_model(file, tmp_path / "model", scales=3)
    before = (tmp_path / "model" / "config.json").read_bytes()
    for out in (tmp_path / "model", tmp_path, file):
        with pytest.raises(UserError, match="is no empty folder"):
            import_model(file, out, scales=2)
    assert (tmp_path / "model" / "config.json").read_bytes() == before
    with pytest.raises(UserError, match="'ychfan' is no known format of checkpoints: did you mean 'ychfan-scn'"):
        import_model(file, tmp_path / "new", scales=3, format="ychfan")
    with pytest.raises(UserError, match="scales: input should be greater than or equal to 1"):
        import_model(file, tmp_path / "new", scales=0)


def test_a_place_that_can_not_be_written_gets_a_sentence(tmp_path: Path) -> None:
    file, _ = checkpoint(tmp_path / "theirs.pt")
    with pytest.raises(UserError, match=r"model can't be written .*: name another folder"):
        import_model(file, file / "model", scales=3)


def test_a_pyramid_that_no_network_has_is_refused(tmp_path: Path) -> None:
    file, _ = checkpoint(tmp_path / "theirs.pt")
    with pytest.raises(UserError, match=r"scales: 12 of ratio 0\.5 would pad .* use at most 8"):
        import_model(file, tmp_path / "model", scales=12)


class Trap:
    """An object whose pickle, when loaded, makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = Trap(sprung)
    _, network = checkpoint(tmp_path / "theirs.pt")
    state = in_their_layout(network.state_dict(), SMALL["blocks"])
    (tmp_path / "plain.pickle").write_bytes(pickle.dumps(trap))
    torch.save(trap, tmp_path / "zip.pt")
    torch.save({"model_state_dict": state, "args": trap}, tmp_path / "inside.pt")
    for name in ("plain.pickle", "zip.pt", "inside.pt"):
        with pytest.raises(UserError, match=f"{name} is no checkpoint that can be imported"):
            import_model(tmp_path / name, tmp_path / "model", scales=3)
        assert not sprung.exists(), name
    pickle.loads((tmp_path / "plain.pickle").read_bytes())
    assert sprung.exists()  # the trap works


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(key)


def _with(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without("body.0.weight_v"), r"\('body\.0\.weight_v' is missing\)"),
        (_without("body.2.body.0.weight_v"), r"\('body\.2\.body\.0\.weight_v' is missing\)"),
        (_without("body.5.weight_v"), r"\('body\.5\.weight_v' is missing\)"),
        (_without("body.3.up.0.weight_g"), r"\('body\.3\.up\.0\.weight_g' is missing\)"),
        (_with("body.9.strange", torch.zeros(3)), r"\('body\.9\.strange' is unexpected\)"),
        (_with("head.bias", torch.zeros(8)), r"\('head\.bias' is unexpected\)"),  # our name of another key's tensor
        (_with("body.0.bias", torch.zeros(9)), r"\('body\.0\.bias' is of shape \(9,\), not \(8,\)\)"),
        (_with("body.2.body.0.weight_v", torch.zeros(32, 8, 3, 3)), r"' is of shape .*, and 6 more don't fit\)"),
        (_with("body.0.weight_v", torch.zeros(8)), r"'body\.0\.weight_v' of shape \(8,\) is no convolution"),
        (_with("body.0.weight_v", torch.zeros(0, 3, 3, 3)), r"of shape \(0, 3, 3, 3\) is no convolution"),
        (_with("body.0.weight_v", torch.zeros(8, 3, 3, 3)), r"gives a 'body\.0\.weight' that is not finite"),
        (_with("body.3.up.0.weight_g", torch.full((8, 1, 1, 1), 3e38)), r"'body\.3\.up\.0\.weight' that is not finite"),
        (_with("body.0.weight_v", torch.zeros(8, 2, 3, 3)), "1 or 3 channels, not 2"),
        (_with("body.0.bias", torch.zeros(8).half()), r"'body\.0\.bias' is no float32 tensor but torch\.float16"),
        (_with("body.0.bias", torch.zeros(8).to_sparse()), r"'body\.0\.bias' is no float32 tensor but a sparse one"),
        (_with("body.0.bias", torch.zeros(8, device="meta")), "no float32 tensor but one without values"),
        (_with("body.0.bias", torch.full((8,), torch.nan)), r"'body\.0\.bias' has values that are not finite"),
        (_with("body.0.bias", [0.0] * 8), r"'body\.0\.bias' is no float32 tensor but list"),
        (_with("body.0.bias", {"nested": {"deep": 1}}), r"'body\.0\.bias' is no float32 tensor but dict"),
        (_with("body.0.bias", torch.zeros(1).expand(10**9)), "its tensors are larger than the file"),
        (_with(7, torch.zeros(3)), "holds no state dict"),
        (dict.clear, "holds no state dict"),
    ],
)
def test_another_state_dict_is_refused(change: Callable[[dict[str, Any]], None], why: str, tmp_path: Path) -> None:
    state = in_their_layout(build(SMALL, seed=1).state_dict(), SMALL["blocks"])
    change(state)
    torch.save({"model_state_dict": state}, tmp_path / "changed.pt")
    with pytest.raises(UserError, match=why):
        import_model(tmp_path / "changed.pt", tmp_path / "model", scales=3)
    assert not (tmp_path / "model").exists()


def test_another_file_is_refused(tmp_path: Path) -> None:
    good, _ = checkpoint(tmp_path / "theirs.pt")
    files = {
        "empty": b"",
        "text": b"body.0.bias: 3\n" * 50,
        "noise": np.random.default_rng(0).bytes(5000),
        "pickled": pickle.dumps({"model_state_dict": {"body.0.bias": [1, 2]}}),
        "truncated": good.read_bytes()[:2000],
        "cut": good.read_bytes()[:-30],
        "deep": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "number": pickle.dumps(3),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name} is no checkpoint that can be imported"):
            import_model(tmp_path / name, tmp_path / "model", scales=3)
    torch.save(torch.zeros(3), tmp_path / "tensor")
    with pytest.raises(UserError, match="it holds no state dict"):
        import_model(tmp_path / "tensor", tmp_path / "model", scales=3)
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UserError, match="can't be read"):
            import_model(missing, tmp_path / "model", scales=3)
