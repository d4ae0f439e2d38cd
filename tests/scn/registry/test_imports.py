"""Weights as other projects write them become networks of the same function; what is none of them is refused.

The layouts are written here by hand, key by key, and computed by functions of their own.
"""

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.io import savemat
from torch import Tensor

from scn.cli import app
from scn.core.errors import UserError
from scn.imaging.image_io import write_pixels
from scn.inference.model_files import load_model
from scn.networks.base.resample import bicubic
from scn.registry import matconvnet
from scn.registry.imports import FORMATS, import_model

State = dict[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]
GENERATOR = torch.Generator().manual_seed(3)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR) / max(shape[1:] or (1,)) ** 0.5 / 4


def layers(**shapes: tuple[int, int, int]) -> State:
    """Convolutions by name, of outputs, inputs and side of the kernel; `__` stands for a dot."""
    state = {}
    for name, (outputs, inputs, side) in shapes.items():
        key = name.replace("__", ".")
        state |= {f"{key}.weight": randn(outputs, inputs, side, side), f"{key}.bias": randn(outputs)}
    return state


def conv(x: Tensor, state: State, name: str) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def edsr(scale: int, *, with_mean: bool = True) -> tuple[State, Callable[[Tensor], Tensor]]:
    """EDSR of sanghyun-son/EDSR-PyTorch, whose pixels go to 255."""
    ups = {2: [2], 3: [3], 4: [2, 2]}[scale]
    state = layers(
        head__0=(8, 3, 3),
        **{f"body__{i}__body__{j}": (8, 8, 3) for i in range(2) for j in (0, 2)},
        body__2=(8, 8, 3),
        **{f"tail__0__{2 * i}": (8 * factor**2, 8, 3) for i, factor in enumerate(ups)},
        tail__1=(3, 8, 3),
    )
    if with_mean:
        shift, eye = 255 * MEAN.flatten(), torch.eye(3)[:, :, None, None]
        state |= {"sub_mean.weight": eye, "sub_mean.bias": -shift, "add_mean.weight": eye, "add_mean.bias": shift}

    def restore(image: Tensor) -> Tensor:
        head = conv((image - MEAN) * 255, state, "head.0")
        x = head
        for i in range(2):
            x = x + conv(F.relu(conv(x, state, f"body.{i}.body.0")), state, f"body.{i}.body.2")
        x = conv(x, state, "body.2") + head
        for i, factor in enumerate(ups):
            x = F.pixel_shuffle(conv(x, state, f"tail.0.{2 * i}"), factor)
        return conv(x, state, "tail.1") / 255 + MEAN

    return state, restore


def basicsr_edsr(scale: int) -> tuple[State, Callable[[Tensor], Tensor]]:
    """The same network with the keys of BasicSR."""
    state, restore = edsr(scale, with_mean=False)
    renamed = {"head.0": "conv_first", "body.2": "conv_after_body", "tail.1": "conv_last"}
    renamed |= {f"body.{i}.body.{j}": f"body.{i}.conv{1 + j // 2}" for i in range(2) for j in (0, 2)}
    renamed |= {"tail.0.0": "upsample.0", "tail.0.2": "upsample.2"}
    theirs = {f"{renamed[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": tensor for key, tensor in state.items()}
    return theirs, restore


def msrresnet(scale: int, body: str, high: str) -> tuple[State, Callable[[Tensor], Tensor]]:
    """MSRResNet of BasicSR and, with other names, of KAIR."""
    ups = {2: [2], 3: [3], 4: [2, 2]}[scale]
    state = layers(
        conv_first=(8, 3, 3),
        **{f"{body}__{i}__conv{j}": (8, 8, 3) for i in range(2) for j in (1, 2)},
        **{f"upconv{i + 1}": (8 * factor**2, 8, 3) for i, factor in enumerate(ups)},
        **{high: (8, 8, 3)},
        conv_last=(3, 8, 3),
    )

    def restore(image: Tensor) -> Tensor:
        x = F.leaky_relu(conv(image, state, "conv_first"), 0.1)
        for i in range(2):
            x = x + conv(F.relu(conv(x, state, f"{body}.{i}.conv1")), state, f"{body}.{i}.conv2")
        for i, factor in enumerate(ups):
            x = F.leaky_relu(F.pixel_shuffle(conv(x, state, f"upconv{i + 1}"), factor), 0.1)
        base = F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
        return conv(F.leaky_relu(conv(x, state, high), 0.1), state, "conv_last") + base

    return state, restore


def dncnn(*, normalised: bool) -> tuple[State, Callable[[Tensor], Tensor]]:
    """DnCNN of KAIR, of 4 convolutions, with batch normalisation or, as its published weights have it, without."""
    places = [0, 2, 5, 8] if normalised else [0, 2, 4, 6]
    state = layers(
        **{f"model__{at}": (1 if i == 3 else 8, 1 if i == 0 else 8, 3) for i, at in enumerate(places)},
    )
    for at in places[1:3] if normalised else []:
        name = f"model.{at + 1}"
        state |= {f"{name}.weight": 1 + randn(8), f"{name}.bias": randn(8), f"{name}.running_mean": randn(8)}
        state |= {f"{name}.running_var": 0.2 + randn(8).abs(), f"{name}.num_batches_tracked": torch.tensor(5)}

    def restore(image: Tensor) -> Tensor:
        x = image
        for at in places:
            x = conv(x, state, f"model.{at}")
            if f"model.{at + 1}.running_var" in state:
                norm = [state[f"model.{at + 1}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
                x = F.batch_norm(x, *norm, eps=1e-4)
            x = x if at == places[-1] else F.relu(x)
        return image - x

    return state, restore


def srcnn(scale: int, *, channels: int = 3) -> tuple[State, Callable[[Tensor], Tensor]]:
    state = layers(conv1=(8, channels, 9), conv2=(4, 8, 5), conv3=(channels, 4, 5))

    def layered(x: Tensor) -> Tensor:
        return conv(F.relu(conv(F.relu(conv(x, state, "conv1")), state, "conv2")), state, "conv3")

    def restore(image: Tensor) -> Tensor:
        return layered(bicubic(image, scale))

    def restore_luma(image: Tensor) -> Tensor:
        """The paper's way with colours: YCbCr as MATLAB has it, the luma by the network, the chroma bicubically."""
        to_ycbcr = torch.tensor([[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]]) / 255
        offset = torch.tensor([16.0, 128, 128])[:, None, None] / 255
        enlarged = bicubic(torch.einsum("ij,njhw->nihw", to_ycbcr, image) + offset, scale)
        ycbcr = torch.cat([layered(enlarged[:, :1]), enlarged[:, 1:]], dim=1) - offset
        return torch.einsum("ij,njhw->nihw", to_ycbcr.inverse(), ycbcr)

    return state, restore if channels == 3 else restore_luma


@pytest.mark.parametrize(
    ("format", "made", "options", "expected"),
    [
        ("edsr", edsr(2), {}, {"name": "edsr", "mean": "div2k", "residual_scaling": 1.0, "scale": 2}),
        ("edsr", edsr(4, with_mean=False), {}, {"name": "edsr", "blocks": 2, "units": 8, "scale": 4}),
        ("basicsr-edsr", basicsr_edsr(3), {}, {"name": "edsr", "scale": 3}),
        ("basicsr-srresnet", msrresnet(4, "body", "conv_hr"), {}, {"name": "msrresnet", "blocks": 2, "scale": 4}),
        ("kair-srresnet", msrresnet(3, "recon_trunk", "HRconv"), {}, {"name": "msrresnet", "scale": 3}),
        ("kair-dncnn", dncnn(normalised=False), {"task": "dn"}, {"name": "dncnn", "layers": 4, "channels": 1}),
        ("kair-dncnn", dncnn(normalised=True), {"task": "car"}, {"name": "dncnn", "batch_norm": False, "scale": 1}),
        ("srcnn", srcnn(3), {"scale": 3}, {"name": "srcnn", "units": 8, "kernel": 5, "luma": False, "scale": 3}),
        ("srcnn", srcnn(2, channels=1), {"scale": 2}, {"name": "srcnn", "luma": True, "channels": 3, "scale": 2}),
    ],
)
def test_weights_become_the_same_function(
    format: str, made: tuple[State, Callable[[Tensor], Tensor]], options: Any, expected: Any, tmp_path: Path
) -> None:
    state, restore = made
    torch.save({"params_ema": {f"module.{key}": tensor for key, tensor in state.items()}}, tmp_path / "a.pth")
    torch.save(state, tmp_path / "bare.pth")
    for file in ("a.pth", "bare.pth"):
        architecture = import_model(tmp_path / file, tmp_path / file.removesuffix(".pth"), **options)
        assert expected.items() <= architecture.items()
        network, config = load_model(tmp_path / file.removesuffix(".pth"))
        image = torch.rand(2, architecture["channels"], 13, 18)
        with torch.no_grad():
            torch.testing.assert_close(network(image), restore(image), rtol=1e-4, atol=1e-5)
        assert config["imported"]["format"] == format
        assert config["task"] == options.get("task", "sr")


def test_the_large_edsr_scales_its_residuals(tmp_path: Path) -> None:
    """32 blocks of 256 units with 0.1 in the paper; no file says so."""
    shapes: dict[str, Any] = {"conv_first": (256, 3, 3), "conv_after_body": (256, 256, 3), "conv_last": (3, 256, 3)}
    shapes |= {"body__0__conv1": (256, 256, 3), "body__0__conv2": (256, 256, 3), "upsample__0": (1024, 256, 3)}
    torch.save({"params": layers(**shapes)}, tmp_path / "a.pth")
    architecture = import_model(tmp_path / "a.pth", tmp_path / "model")
    assert (architecture["residual_scaling"], architecture["scale"]) == (0.1, 2)


def mat(made: State, *, norm: bool = False, kinds: tuple[str, ...] = (), **fields: Any) -> bytes:
    """A MATLAB file of MatConvNet's SimpleNN with convolutions of `made`, in their order, and ReLU between them."""
    found: list[dict[str, Any]] = []
    names = sorted({key.rpartition(".")[0] for key in made}, key=lambda name: int(name.split(".")[1]))
    for name in names:
        if f"{name}.running_var" in made:
            moments = torch.stack([made[f"{name}.running_mean"], (made[f"{name}.running_var"] + 1e-4).sqrt()], dim=1)
            arrays = [made[f"{name}.weight"].numpy()[:, None], made[f"{name}.bias"].numpy()[:, None], moments.numpy()]
            found.insert(-1, {"type": "bnorm", "weights": cells(arrays)})
            continue
        filters = made[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
        layer = {"type": "conv", "weights": cells([filters, made[f"{name}.bias"].numpy()[:, None]]), **fields}
        found += [layer, {"type": "relu"}]
    found[-1:] = [{"type": kind} for kind in kinds]
    file = io.BytesIO()
    savemat(file, {"net": {"layers": cells(found)}})
    return file.getvalue()


def cells(values: list[Any]) -> np.ndarray[Any, Any]:
    """A cell array of one row."""
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


@pytest.mark.parametrize(("normalised", "kinds"), [(False, ()), (True, ("loss",))])
def test_matlab_files_of_dncnn(normalised: bool, kinds: tuple[str, ...], tmp_path: Path) -> None:
    state, restore = dncnn(normalised=normalised)
    (tmp_path / "a.mat").write_bytes(mat(state, kinds=kinds, stride=1.0))
    architecture = import_model(tmp_path / "a.mat", tmp_path / "model", task="dn")
    assert {"name": "dncnn", "layers": 4, "units": 8, "channels": 1}.items() <= architecture.items()
    image = torch.rand(1, 1, 17, 12)
    network, config = load_model(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(network(image), restore(image), rtol=1e-4, atol=1e-5)
    assert config["imported"]["format"] == "matconvnet-dncnn"


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(dncnn(normalised=False)[0], tmp_path / "a.pth")
    out = tmp_path / "model"
    app(["models", "import", str(tmp_path / "a.pth"), "--task", "dn", "--out", str(out)], standalone_mode=False)
    assert capsys.readouterr().out.startswith(f"{out}: name dncnn, layers 4, units 8, batch_norm False, channels 1")


def test_weights_are_measured_as_an_experiment(
    small_project: Any,
    photograph: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(small_project.root)
    write_pixels(small_project.root / "mine/one.png", np.asarray(photograph(32, 40, 1)))
    torch.save(srcnn(2, channels=1)[0], tmp_path / "srcnn.pth")
    torch.save(dncnn(normalised=False)[0], tmp_path / "dncnn.pth")
    app(["models", "import", str(tmp_path / "srcnn.pth"), "--as", "sr-x2"], standalone_mode=False)
    app(["models", "import", str(tmp_path / "dncnn.pth"), "--as", "dn-s25", "--out", "theirs"], standalone_mode=False)
    assert "scn evaluate -e dn-s25 --images SET --method theirs" in capsys.readouterr().err
    for name, folder, level in (("sr-x2", "models/sr-x2", 2), ("dn-s25", "theirs", 25)):
        assert load_model(Path(folder))[1]["level"] == level
        measure = ["evaluate", "-e", name, "--images", "mine", "--method", folder, "--json", "figures.json"]
        app(measure, standalone_mode=False)
        measured = json.loads(Path("figures.json").read_bytes())
        assert (measured["level"], measured["method"]) == (level, folder)
        assert not any("was trained for" in note for note in measured.get("notes", []))
    for options, message in (
        (["--as", "car-q10", "--out", "new"], "holds a network of scale 2, not of 1 as car-q10: name another"),
        (["--as", "sr-x2", "--out", "new", "--task", "dn"], "sr-x2, which --as names, has the task sr: leave it out"),
        (["--as", "sr-x9", "--out", "new"], "sr-x9"),
        (["--scale", "2"], "--out is missing: name a new folder"),
    ):
        with pytest.raises(UserError, match=message):
            app(["models", "import", str(tmp_path / "srcnn.pth"), *options, "--scale", "2"], standalone_mode=False)
    assert not Path("new").exists()


def changed(made: tuple[State, Any], **changes: Tensor | None) -> State:
    state = dict(made[0])
    for key, tensor in changes.items():
        state.pop(key.replace("__", "."), None)
        if tensor is not None:
            state[key.replace("__", ".")] = tensor
    return state


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (srcnn(2)[0], {}, "does not say by what factor SRCNN enlarges: add --scale"),
        ({"body.2.body.0.weight_v": torch.zeros(1)}, {}, "does not say how many scales .*: add --scales"),
        ({"theirs": torch.zeros(1)}, {}, r"which are ychfan-scn, edsr, .* \(its first key is 'theirs'\): name another"),
        (edsr(2)[0], {"format": "edrs"}, "'edrs' is no known format of checkpoints: did you mean 'edsr'"),
        (edsr(2)[0], {"format": "srcnn", "scale": 2}, r"of the format srcnn \('conv1.weight' is missing\)"),
        (edsr(2)[0], {"format": "matconvnet-dncnn"}, "it is no MATLAB file"),
        (changed(edsr(2), tail__1__bias=None), {}, r"'tail\.1\.bias' is missing"),
        (changed(edsr(2), extra=torch.zeros(2)), {}, "'extra' is unexpected"),
        (changed(edsr(2), body__0__body__0__bias=torch.zeros(9)), {}, r"'body\.0\.body\.0' of shapes .* is no conv"),
        (changed(edsr(2), body__2__weight=torch.zeros(8, 8, 1, 1)), {}, r"as 'body\.2\.weight' none fits"),
        (changed(edsr(2), sub_mean__bias=torch.ones(3) * -99), {}, "'(add|sub)_mean.bias' is not DIV2K's mean"),
        (changed(edsr(2), sub_mean__bias=torch.zeros(0)), {}, "'(add|sub)_mean.bias' is not DIV2K's mean"),
        (changed(edsr(2), head__0__bias=torch.zeros(8).half()), {}, "is no float32 tensor but torch.float16"),
        (changed(dncnn(normalised=False), model__6__weight=torch.zeros(3, 8, 3, 3), model__6__bias=torch.zeros(3)), {},
         "it makes 3 channels of 1, as FFDNet and FDnCNN"),
        (layers(**{f"model__{2 * i}": (1 if i == 6 else 8, 8 if i else 1, 3) for i in range(7)}), {}, "are IRCNN"),
        (dncnn(normalised=False)[0], {}, "add --task dn or --task car"),
        (edsr(2)[0], {"task": "dn"}, "use --task sr, or another"),
    ],
)  # fmt: skip
def test_what_can_not_be_imported_is_told(content: Any, options: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message):
        import_model(tmp_path / "a.pth", tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"MATLAB 5.0 MAT-file" + b" " * 200, "it has no 'net' with layers that can be read"),
        (b"MATLAB 7.3 MAT-file" + b" " * 500, "is of MATLAB's version 7.3: save it in MATLAB with -v7"),
        (mat(dncnn(normalised=False)[0])[:900], "it has no 'net' with layers that can be read"),
        (mat(dncnn(normalised=False)[0], kinds=("sum", "loss")), "layer 8 is of type 'sum'"),
        (mat(dncnn(normalised=False)[0], dilate=2.0), "layer 1 has a stride or a dilation"),
        (mat(dncnn(normalised=False)[0], weights=cells([np.ones(3)])), "layer 1 has no 2 arrays of weights"),
        (
            mat(changed(dncnn(normalised=False), model__0__bias=torch.zeros(0))),
            r"layer 1 has filters of shape \(3, 3, 8\) and 0 biases",
        ),
        (
            mat(dncnn(normalised=False)[0], weights=cells([np.zeros((0, 3, 8)), np.ones(8)])),
            "layer 1 has filters of shape",
        ),
        (mat(changed(dncnn(normalised=False), model__0__bias=torch.full((8,), torch.nan))), "layer 1 has values that"),
    ],
)
def test_other_matlab_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(UserError, match=message):
        import_model(tmp_path / "a.mat", tmp_path / "model", task="dn")


def test_what_unpacks_to_more_than_weights_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"theirs": torch.zeros(2**20)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as stored, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as deflated:
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    (tmp_path / "c.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-40])
    savemat(file := io.BytesIO(), {"net": np.zeros(2**20)}, do_compression=True)
    (tmp_path / "a.mat").write_bytes(file.getvalue())
    with pytest.raises(UserError, match="its first key is 'theirs'"):
        import_model(tmp_path / "a.pth", tmp_path / "model")
    monkeypatch.setattr(matconvnet, "_SMALL", 2**16)
    for name, message in (("b.pth", "it is packed"), ("c.pth", "it is packed, or damaged"), ("a.mat", "it unpacks to")):
        tracemalloc.start()
        try:
            with pytest.raises(UserError, match=message):
                import_model(tmp_path / name, tmp_path / "model", task="dn")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * max(2**20, (tmp_path / name).stat().st_size)


def test_what_memory_can_not_hold_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mat").write_bytes(mat(dncnn(normalised=False)[0]))
    monkeypatch.setattr("scn.core.memory.free", lambda: 0)
    told = r"a\.mat unpacks to .* and 0\.0 are free: end other programs, or import it on a machine that has more\.$"
    with pytest.raises(UserError, match=told):
        import_model(tmp_path / "a.mat", tmp_path / "model", task="dn")


def test_every_format_is_named_once() -> None:
    assert len(set(FORMATS)) == len(FORMATS) == 8
