"""Where no machines can be made, the cluster's tests are skipped, and say why."""

import os
import shutil
from pathlib import Path

import pytest
from machines import Impossible, Machine, network

pytestmark = pytest.mark.cluster
REFUSES = "echo 'Operation not supported' >&2; exit 2"


@pytest.mark.parametrize(
    ("words", "does", "told"),
    [
        ("type bridge", REFUSES, r"no namespaces can be made here \(Operation not supported\)"),
        ("type veth", REFUSES, r"no network can be made here \(Operation not supported\)"),
        ("master bridge", "exit 0", r"no network can be made here \(.*10\.77\.0\.2/9"),
    ],
    ids=["no bridge", "no link", "nothing gets through"],
)
def test_a_network_that_can_not_be_made_is_told(
    machines: dict[str, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, does: str, told: str
) -> None:
    """`ip` does something else where its command line has these words."""
    ip = tmp_path / "ip"
    ip.write_text(f'#!/bin/sh\ncase "$*" in *"{words}"*) {does};; esac\nexec {shutil.which("ip")} "$@"\n')
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Impossible, match=told), network(["one", "two"]):
        pass


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("scn.core.memory.free", lambda: 2**30)
    monkeypatch.setattr("shutil.which", lambda tool: tool)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "1")
    with pytest.raises(Impossible, match=r"^3 GiB of memory are needed and 1\.0 are free"):
        network(["one"]).__enter__()
    monkeypatch.setattr("shutil.which", lambda tool: "" if tool == "ip" else tool)
    with pytest.raises(Impossible, match=r"^there is no command `ip` here"):
        network(["one"]).__enter__()
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    with pytest.raises(Impossible, match="by root alone"):
        network(["one"]).__enter__()
