"""`import scn`: light, with a version, and the names that it gives."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import scn
import scn.cli
from scn.core.errors import UserError
from scn.core.version import project_version
from scn.inference.handle import Model
from scn.networks import NETWORKS, list_networks
from scn.networks.build import create_model
from scn.registry.reference import ModelEntry, list_models, load
from scn.registry.several import restore


def test_the_import_is_light_and_names_are_there_all_the_same() -> None:
    program = (
        "import sys, scn\n"
        "assert set(scn.__all__) <= set(dir(scn)), dir(scn)\n"
        "assert scn.__version__\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'PIL', 'yaml', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "scn.list_networks(), scn.UserError\n"
        "assert 'torch' not in sys.modules\n"
        "from scn import *\n"
        "assert load is scn.load and create_model is scn.create_model\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_every_name_is_what_it_says() -> None:
    found = {name: getattr(scn, name) for name in scn.__all__}
    assert found == {
        **{"Model": Model, "ModelEntry": ModelEntry, "Network": scn.networks.Network},
        **{"UserError": scn.core.errors.UserError, "__version__": project_version()},
        **{"create_model": create_model, "list_models": list_models, "list_networks": list_networks},
        **{"load": load, "restore": restore},
    }
    assert all(value.__doc__ for value in found.values())
    with pytest.raises(AttributeError, match=r"^module 'scn' has no attribute 'laod'$"):
        _ = scn.laod  # type: ignore[attr-defined]


def test_types_are_for_everyone() -> None:
    assert (Path(scn.__file__).parent / "py.typed").is_file()


def test_the_version_is_that_of_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scn.__version__ == version("scn")
    monkeypatch.setattr("sys.argv", ["scn", "--version"])
    with pytest.raises(SystemExit) as end:
        scn.cli.main()
    assert (end.value.code or 0, capsys.readouterr().out) == (0, f"scn {version('scn')}\n")


def test_networks_are_listed_with_what_is_known_of_them() -> None:
    found = scn.list_networks()
    assert [network.name for network in found] == list(NETWORKS)
    srresnet = next(network for network in found if network.name == "srresnet")
    assert srresnet.paper.startswith("Feng, Guan, Qiao, Dong: ")
    assert (srresnet.channels, srresnet.scale) == (3, 4)
    assert "conv" in srresnet.config.model_fields


def test_a_network_is_created_by_name_and_keywords() -> None:
    network = scn.create_model("srresnet", conv="ms3", scale=2, blocks=1, units=8)
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 8, 6)).shape == (1, 3, 16, 12)
    standard = scn.create_model("srresnet", scale=2, blocks=1, units=8)
    assert network.state_dict().keys() != standard.state_dict().keys()
    with pytest.raises(scn.UserError, match=r"^The network: conv: input should be .*'ms3'"):
        scn.create_model("srresnet", conv="ms33")


def test_restore_takes_what_the_command_takes(
    small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.publish("dn-s25", "sr-x2")
    monkeypatch.chdir(small_project.root)
    clean = photograph(64, 80)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 35, clean.shape), 0, 255).astype(np.uint8)
    assert np.array_equal(restore(noisy, "auto"), restore(noisy, "dn-s25"))
    assert np.array_equal(restore(clean), clean)  # auto, and nothing to restore
    both = restore(noisy, "dn-s25,sr-x2")
    assert both.shape == (128, 160, 3)
    assert np.array_equal(restore(noisy, "dn-s25", scale=2), both)
    assert restore(Image.fromarray(clean), load("sr-x2"), scale=1.5).size == (120, 96)
    with pytest.raises(UserError, match=r"^scale: nan is out of range"):
        restore(clean, "sr-x2", scale=float("nan"))
    with pytest.raises(UserError, match="A model is named by a string or a path, not NoneType"):
        load(None)  # type: ignore[arg-type]
