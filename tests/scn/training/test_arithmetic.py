"""How a run computes is chosen once, and kept in its checkpoints."""

import socket

import pytest
import torch
from named_pictures import experiment

from scn.core.errors import UserError
from scn.training.arithmetic import Arithmetic, check_compiler, chosen
from scn.training.world import World


def test_it_is_chosen_from_the_recipe_and_the_cores() -> None:
    how, why = chosen(experiment(), World(threads=3), steps=10)
    assert how == Arithmetic(threads=3, compiled=False)
    assert why == "not compiled: 10 steps are over before it would pay"
    assert chosen(experiment(threads=2), World(threads=3), 10)[0].threads == 2
    assert chosen(experiment(lanes=2), World(threads=3), 10)[0].threads == 1
    assert chosen(experiment(lanes=2, threads=2), World(threads=3), 10)[0].threads == 2
    assert chosen(experiment(compile=True), World(), 10)[0].compiled


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
