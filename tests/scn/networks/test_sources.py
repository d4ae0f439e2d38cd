"""The files that decide what a network computes, and no others."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scn.networks import NETWORKS, Network, sources
from scn.networks.sources import sources_of

ROOM = Path(sources.__file__).resolve().parent


def names(network: str, room: Path = ROOM) -> set[str]:
    return {path.relative_to(room).as_posix() for path in sources_of(network)}


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of scn/networks to edit, which sources_of reads."""
    monkeypatch.setattr(sources, "_ROOT", tmp_path)
    return Path(shutil.copytree(ROOM, tmp_path / "scn" / "networks"))


def test_the_sources_of_two_networks() -> None:
    shared = {
        f"base/{name}.py" for name in ("__init__", "config", "convolution", "layers", "resample", "weights", "windows")
    }
    own = {f"scn/{name}.py" for name in ("__init__", "config", "initial", "network", "scale_wise")}
    assert names("scn") == shared | own | {"base/bands.py", "base/wide.py"}
    assert names("vdsr") == shared | {"base/enlarged.py", "vdsr/__init__.py", "vdsr/config.py", "vdsr/network.py"}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_depends_on_the_table_or_on_an_unrelated_paper(name: str) -> None:
    row = NETWORKS[name]
    papers = {"base", *(module.split(".")[2] for module in (row.implementation, row.config.__module__))}
    assert {path.split("/")[0] for path in names(name)} == papers


@pytest.mark.parametrize("name", ["scn-baseline", "carn"])
def test_nothing_that_is_really_imported_is_missing(name: str) -> None:
    """Imports the network's module in an interpreter of its own, and compares the files that this loads."""
    program = f"""if True:
        import sys, scn.networks
        def loaded(): return {{m.__file__ for n, m in sys.modules.items() if n.startswith("scn.networks.")}}
        before = loaded()
        import {NETWORKS[name].implementation.partition(":")[0]}
        print(*loaded() - before, sep="\\n")"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert {Path(line).resolve() for line in done.stdout.split()} <= set(sources_of(name))


def test_a_new_network_changes_nothing_for_the_others(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: names(name, copy) for name in NETWORKS}
    (copy / "new").mkdir()
    (copy / "new" / "network.py").write_text("from scn.networks.base.layers import RestorationNetwork\n")
    row = NETWORKS["vdsr"]
    new = Network(
        config=row.config, implementation="scn.networks.new.network:New", title="", paper="", section="", licence=""
    )
    monkeypatch.setattr(sources, "NETWORKS", {**NETWORKS, "new": new})
    assert {name: names(name, copy) for name in NETWORKS} == before
    assert {"new/network.py", "base/layers.py", "base/convolution.py", "vdsr/config.py"} <= names("new", copy)


@pytest.mark.parametrize(
    "statement", ["import scn.networks.base.extra", "from scn.networks.base import extra", "def f():\n    {}"]
)
def test_an_import_is_followed_wherever_it_stands(copy: Path, statement: str) -> None:
    statement = statement.format("from scn.networks.base.extra import thing")
    before = names("scn", copy)
    (copy / "base" / "extra.py").write_text("from scn.networks.base.bands import in_bands as thing\n")
    file = copy / "base" / "layers.py"
    file.write_text(f"{file.read_text()}\n\n{statement}\n")
    assert names("scn", copy) == before | {"base/extra.py"}
    assert names("vdsr", copy) >= {"base/extra.py", "base/bands.py"}
