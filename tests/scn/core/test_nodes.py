"""What nodes of a cluster run is the code of the process that asks them, with the same packages, or it is refused."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scn.core.hashing import package_folder
from scn.core.nodes import CODE, common, refusal
from scn.core.ray import patiently

ASKS = """\
import sys
from scn.core import hashing, nodes
from scn.core.errors import UserError
from scn.core.parallel import carry_out
from scn.core.ray import start_ray

def code(name):
    return hashing.code_sha256(hashing.sources(name, without=[f"{name}/__init__.py"]))

start_ray()
nodes.common()
expected = {name: code(name) for name in ("data_prep", "scn/imaging")}
if sys.argv[1:] == ["hidden"]:  # as another machine, which has no such folder
    hashing.package_folder("scn").parent.rename(hashing.package_folder("scn").parents[1] / "gone")
    sys.argv.pop()
for name, value in (each.split("=") for each in sys.argv[1:]):
    nodes._installation()[name] = value
try:
    for _, found in carry_out(hashing.package_folder, ["scn", "data_prep"], 1, unit="folder"):
        print(found)
        print((found / "__init__.py").read_text())
    found = {list(expected)[number]: each for number, each in carry_out(code, list(expected), 1, unit="hash")}
    print("the same hashes" if found == expected else found)
except UserError as error:
    print(error)
"""
"""Asks a node of the cluster where its packages are; with NAME=VALUE, as if this process had other versions.

With `hidden` it has moved its own packages away before that.
"""


def test_one_machine_needs_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert common() == {}
    assert refusal(common()) is None


def test_a_cluster_needs_code_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    needed = common()
    assert set(needed) == {CODE, "torch", "numpy", "Pillow"}
    assert "+" not in needed["torch"]  # whether the build is for a CPU or for CUDA
    assert refusal(needed) is None


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of one node."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    yield cluster.address
    cluster.shutdown()


def asked(address: str, project: Path, *other: str) -> str:
    """What ASKS prints, with the packages of `project`."""
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", ASKS, *other], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_nodes_run_the_code_of_the_process_that_asks(address: str, tmp_path: Path) -> None:
    for name in ("scn", "data_prep"):
        shutil.copytree(
            package_folder(name), tmp_path / "here" / name, ignore=shutil.ignore_patterns("__pycache__", "zoo")
        )
        with (tmp_path / "here" / name / "__init__.py").open("a") as file:
            file.write(f"# {name} as it is here alone")
    printed = asked(address, tmp_path / "here", "hidden")
    assert "# scn as it is here alone" in printed
    assert "# data_prep as it is here alone" in printed
    assert printed.endswith("the same hashes\n")
    assert str(tmp_path) not in printed  # it was sent, not read there


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_with_other_packages_is_refused_by_name(address: str) -> None:
    printed = asked(address, package_folder("scn").parent, "torch=1.0", f"{CODE}=none")
    assert printed.startswith("The node ")
    assert " has other code of this project, torch " in printed
    assert " in place of 1.0: start all nodes from one image, or install " in printed
    assert printed.count("\n") == 1
