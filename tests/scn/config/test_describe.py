"""`scn networks`, `scn profile` and `scn models import`, as they are typed."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.cli import main
from scn.config.describe import WIDTH, architecture, describe, profile_text, size
from scn.core.errors import UserError
from scn.networks import NETWORKS
from scn.networks.build import build

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `scn` with some words; its status must be the one expected, and its output is the result."""

    def typed(*words: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["scn", *words])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        assert (end.value.code or 0) == status
        out, err = capsys.readouterr()
        return err if status else out

    return typed


def test_every_network_and_parameter_is_listed(run: Run) -> None:
    text = run("networks")
    assert max(map(len, text.splitlines())) <= WIDTH
    listed = {block.partition(":")[0]: block for block in text.split("\n\n")}
    assert list(listed) == list(NETWORKS)
    for name, network in NETWORKS.items():
        lines = [line.split() for line in listed[name].splitlines()]
        for parameter, field in network.config.model_fields.items():
            value = json.dumps(field.default) if field.default in (None, True, False) else str(field.default)
            assert parameter == "name" or any(line[:2] == [parameter, value] for line in lines), (name, parameter)
        for words in (network.title, network.paper, network.section, network.licence):
            assert words.split()[0] in listed[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_of_every_network_is_explained(name: str) -> None:
    text = describe(name)
    assert max(map(len, text.splitlines())) <= WIDTH
    for parameter in [key for key in NETWORKS[name].config.model_fields if key != "name"]:
        # name, default, (what is allowed), and then a sentence
        assert re.search(rf"\n    {parameter} +[^()]+ \([^()]+\)\n {{8,}}[^()\s]", text), parameter


def test_allowed_values_in_words() -> None:
    text = describe("scn")
    assert "ratio        0.5  (number, at least 0.01, below 1)" in text
    assert "resampling   bilinear  (bilinear | pooling | strided)" in text
    assert "shared       true  (true or false)" in text
    assert "Channels before the activation, as a multiple of `units` (wide activation)." in text
    with pytest.raises(UserError, match="'scm' is no known network: did you mean 'scn'"):
        describe("scm")


def test_the_list_needs_no_pytorch() -> None:
    program = "import sys\nfrom scn.config.describe import describe\ndescribe()\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_profile_for_programs(run: Run) -> None:
    words = ("--model", "srresnet", "--set", "conv=ms3", "branches=2", "--input", "128x96", "--set", "blocks=2")
    result = json.loads(run("profile", *words, "--json"))
    assert result["model"] == "srresnet"
    assert result["input"] == [128, 96]
    expected = {"conv": "ms3", "branches": 2, "blocks": 2, "channels": 3, "scale": 4}
    assert expected.items() <= result["architecture"].items()
    network = build(result["architecture"])
    assert result["params"] == sum(p.numel() for p in network.parameters())
    figures = {"params", "params_folded", "macs", "receptive_field", "activation_bytes", "training_bytes"}
    assert result.keys() == {"model", "architecture", "input", *figures}
    assert all(isinstance(result[key], int) and result[key] > 0 for key in figures)


def test_profile_for_readers(run: Run) -> None:
    lines = run("profile", "--set", "blocks=1", "units=4").splitlines()
    assert lines[0].startswith("scn: blocks=1, units=4, width=4")
    start = {line[:20].strip(): line[20:] for line in lines if line.startswith("  ")}
    assert start["parameters"] == "2,736, folded 2,680"
    assert start["multiply-adds"].endswith("M for one image of 128x128 pixels (height x width)")
    assert start["receptive field"].endswith(" pixels")
    assert start["activations"].endswith(" MiB at most at once in inference, float32")
    assert start["kept in training"].endswith(" MiB per image for the backward, float32")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "srresnt"], "'srresnt' is no known network: did you mean 'srresnet'"),
        (["--set", "untis=3"], "'untis' is no known parameter of scn: did you mean 'units'"),
        (["--set", "units=0"], "units: input should be greater than or equal to 1"),
        (["--set", "units=many"], "units: input should be a valid integer"),
        (["--set", "units"], "'units' is no KEY=VALUE"),
        (["units=3", "units=4"], "units is set twice: leave one out"),
        (["scales=9"], "would pad every image to a multiple of more than 256 pixels: use at most 8, or a ratio other"),
        (["scales=64", "ratio=0.01"], "pixels: use at most 1, or a ratio other than 1/2, 1/3 and so on"),
        (["ratio=1e-320"], "ratio: input should be greater than or equal to 0.01"),
        (["kernel=17"], "kernel: input should be less than or equal to 15"),
        (["kernel=15", "ratio=0.25", "resampling=strided"], "kernel: 15 covers more than a pyramid of 4 scales has"),
        (["--model", "edsr", "--set", "residual_scaling=.inf"], "residual_scaling: input should be a finite number"),
        (["--model", "srcnn", "--set", "units=1000000"], "units: input should be less than or equal to 4096"),
        (["scale=17"], "can't enlarge 17 times: use a whole number from 1 to 16"),
        (["scale=true"], "can't enlarge True times"),
        (["channels=true"], "can't have True channels"),
        (["kernel=4"], "kernel: 4 is even"),
        (["ratio=1e0"], "ratio: input should be less than 1"),
        (["name=edsr"], "name it with --model"),
        (["units=["], "'[' is no value for units"),
        (["channels=2"], "can't have 2 channels"),
        (["scale=half"], "can't enlarge half times"),
        (["--input", "128"], "'128' is no size of an image: write HEIGHTxWIDTH"),
        (["--input", "0x8"], "'0x8' is no size of an image"),
    ],
)
def test_mistakes_get_a_sentence(words: list[str], message: str, run: Run) -> None:
    text = run("profile", *words, status=1)
    assert message in text
    assert text.startswith("scn: ")
    assert text.count("\n") == 1


def test_large_figures_have_large_units() -> None:
    field = {"model": "scn", "architecture": {}, "input": [8, 8], "params": 1, "params_folded": 1}
    field |= {"receptive_field": None, "macs": 26098 * 10**12, "activation_bytes": 5 * 2**39, "training_bytes": 2**50}
    text = profile_text(field)
    assert "26.10 P for one image" in text
    assert "2.5 TiB at most" in text
    assert "1.0 PiB per image" in text
    assert "3.50e+23 for one" in profile_text(field | {"macs": 35 * 10**22})


def test_the_defaults_are_the_papers() -> None:
    assert architecture("vdsr", []) == {"name": "vdsr", "layers": 20, "units": 64, "channels": 1, "scale": 4}
    assert architecture("vdsr", ["scale=2", "layers=3"])["scale"] == 2
    assert size("17x300") == (17, 300)


def test_import_as_it_is_typed(run: Run, tmp_path: Path) -> None:
    words: list[Any] = ["models", "import", "--format", "ychfan-scn", tmp_path / "theirs.pt", "--scales", "2"]
    words = [*map(str, words), "--out", str(tmp_path / "model")]
    conv = {"bias": torch.zeros(4), "weight_g": torch.ones(4, 1, 1, 1), "weight_v": torch.ones(4, 4, 3, 3)}
    one_by_one = conv | {"weight_v": torch.ones(4, 4, 1, 1)}
    head = conv | {"weight_v": torch.ones(4, 1, 3, 3)}
    tail = {"bias": torch.zeros(1), "weight_g": torch.ones(1, 1, 1, 1), "weight_v": torch.ones(1, 4, 3, 3)}
    layers = {"body.0": head, "body.2.body.0": conv, "body.2.body.2": conv, "body.4": tail}
    layers |= {"body.2.down.0": one_by_one, "body.2.up.0": one_by_one}
    torch.save(
        {f"{layer}.{leaf}": tensor for layer, leaves in layers.items() for leaf, tensor in leaves.items()}, words[4]
    )
    assert "add --task dn or --task car" in run(*words, status=1)
    assert "blocks 1, units 4, width 1" in run(*words, "--task", "dn")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["task"] == "dn"
    assert "is no empty folder" in run(*words, "--task", "dn", status=1)
