"""How a run computes is chosen once, and kept in its checkpoints."""

import socket
from pathlib import Path

import pytest
import torch
from named_pictures import experiment

from scn.core.errors import UserError
from scn.training.arithmetic import Arithmetic, check_compiler, chosen
from scn.training.world import World


def test_it_is_chosen_from_the_recipe_and_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    how, why = chosen(experiment(), World(threads=3), steps=10)
    assert how == Arithmetic(threads=3, compiled=False)
    assert why == "not compiled: 10 steps are over before it would pay"
    assert chosen(experiment(threads=2), World(threads=3), 10)[0].threads == 2
    assert chosen(experiment(lanes=2), World(threads=3), 10)[0].threads == 1
    assert chosen(experiment(lanes=2, threads=2), World(threads=3), 10)[0].threads == 2
    assert chosen(experiment(compile=True), World(), 10)[0].compiled


def test_a_run_of_which_a_machine_can_not_compile_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.training.arithmetic.compiles", lambda *run: (True, "compiled, as it pays"))
    lacking = [("first", ""), ("second", "C++ compiler (g++)")]
    monkeypatch.setattr("scn.training.arithmetic.gathered", lambda mine, world: lacking)
    how, why = chosen(experiment(), World(world_size=2), 9000)
    assert not how.compiled
    assert why == "not compiled, though 9,000 steps would pay for it: second has no C++ compiler (g++)"
    how, why = chosen(experiment(compile=True), World(world_size=2), 9000)
    assert how.compiled
    with pytest.raises(UserError, match="second has no"):
        check_compiler(how, World(world_size=2))
    lacking[1] = ("second", "")
    assert chosen(experiment(), World(world_size=2), 9000) == (how, "compiled, as it pays")


def test_it_comes_back_from_a_checkpoint_and_is_in_force_for_a_while() -> None:
    how = Arithmetic(threads=3, compiled=True)
    assert Arithmetic.of({"arithmetic": how.state()}) == how
    assert Arithmetic.of({}) is None
    assert str(how) == "3 threads, compiled"
    before = torch.get_num_threads()
    with how.in_force():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_a_machine_that_can_not_compile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compiler(Arithmetic(threads=1, compiled=False), World())
    with pytest.raises(UserError, match=rf"{socket.gethostname()} has no C\+\+ compiler \(no-such-compiler\): install"):
        check_compiler(Arithmetic(threads=1, compiled=True), World())


def test_on_a_gpu_it_is_a_c_compiler_that_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It compiles what launches Triton's kernels; PyTorch's own error would be a page of Triton's."""
    compiled, gpu = Arithmetic(threads=1, compiled=True), World(device=torch.device("cuda"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(
        UserError, match=r"has no C compiler \(gcc or clang\): install it there, or set run\.compile to"
    ):
        check_compiler(compiled, gpu)
    (tmp_path / "clang").touch(mode=0o755)
    check_compiler(compiled, gpu)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(UserError, match=r"has no C compiler \(no-such-compiler\)"):
        check_compiler(compiled, gpu)
    (tmp_path / "Python.h").unlink()
    monkeypatch.setenv("CC", "clang")
    with pytest.raises(UserError, match=r"has no Python\.h"):
        check_compiler(compiled, gpu)
