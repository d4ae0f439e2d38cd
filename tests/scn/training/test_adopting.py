"""A run goes on from one by other code: from its newest checkpoint, with its best one, if they fit."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from saved_runs import IDENTITY, Machine, assert_found, damage, names, one_sentence, save_all

from scn.config.params import Params
from scn.core.errors import UserError
from scn.launch.stage import train_stage
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage import open_store
from scn.storage.base import Store
from scn.training.adopting import adopt
from scn.training.checkpoint import Checkpoints
from scn.training.learner import Learner
from scn.training.loop import History, Run
from scn.training.other_runs import Other
from scn.training.world import World

OLD, NEW = {**IDENTITY, "code_sha256": "c" * 64}, {**IDENTITY, "code_sha256": "d" * 64}


def only_other(checkpoints: Checkpoints) -> Other:
    (other,) = checkpoints.others()
    assert other.other_code
    return other


# What is found


def test_a_newer_checkpoint_in_the_store_goes_before_an_older_one_here(machine: Machine, store: Store) -> None:
    save_all(machine(store, "a", OLD), 100)
    elsewhere = machine(store, "b", OLD)
    elsewhere.load()
    save_all(elsewhere, 900)
    new = machine(store, "a", NEW)
    before = store.list()
    (found,) = new.of_other(only_other(new), with_best=False)
    assert_found(found, 900)
    assert store.list() == before


def test_what_another_machine_has_begun_anew_does_not_come_back(machine: Machine, store: Store) -> None:
    save_all(machine(store, "a", OLD), 100)
    again = machine(store, "b", OLD)
    again.begin(anew=True)
    new = machine(store, "a", NEW)
    with pytest.raises(UserError, match=r"^Run [0-9a-f]{16} has no checkpoint that can be read: start anew") as error:
        new.of_other(only_other(new), with_best=False)
    one_sentence(error)
    save_all(machine(store, "a", OLD), 100)
    again.begin(anew=True)
    save_all(again, 50)
    (found,) = new.of_other(only_other(new), with_best=False)
    assert_found(found, 50)


def test_a_run_of_another_configuration_is_refused(machine: Machine, store: Store) -> None:
    save_all(machine(store, "a", {**OLD, "level": 3}), 100)
    new = machine(store, "a", NEW)
    with pytest.raises(UserError, match=r"is of another configuration \(.*level is 3 there, 2 here\): start anew"):
        new.of_other(new.others()[0], with_best=False)


def test_damaged_ones_are_skipped_and_named(machine: Machine, store: Store) -> None:
    old = machine(store, "a", OLD)
    save_all(old, 100, 200, 300, scores=(31.0, 35.0, 30.0))
    newest = next(old.folder.glob("step-00000300-*"))
    damage(newest)
    new = machine(store, "a", NEW)
    best, last = new.of_other(only_other(new), with_best=True)
    assert_found(best, 200)
    assert_found(last, 300)  # the store's copy
    assert new.damaged == [str(newest)]
    for name in names(old.folder):
        store.delete(f"runs/sr-x2/{old.run_id}/{name}")
        damage(old.folder / str(name))
    with pytest.raises(UserError, match=r"no checkpoint that can be read \(damaged: .*step-00000200-.*\): start anew"):
        new.of_other(only_other(new), with_best=True)


# What is gone on with


@pytest.fixture
def runs(project: Callable[..., Params]) -> Callable[..., tuple[Params, Run, dict[str, Any]]]:
    """Makes the run of this code, and a state that a run by other code may have left at step 5."""

    def make(**train: object) -> tuple[Params, Run, dict[str, Any]]:
        params = project("sr-x2", epochs=1, hold_epochs=0, **train)
        found = {
            **Learner(params.experiment("sr-x2"), World()).state(),
            "history": History().state(),
            "arithmetic": None,
        }
        return params, run_of(params), found

    return make


def run_of(params: Params) -> Run:
    return Run(
        experiment=params.experiment("sr-x2"),
        manifest=training_manifest(params, "sr-x2"),
        evaluation=evaluation_manifest(params, "sr-x2"),
        store=open_store(params.storage.url, params.root),
        root=params.root,
    )


def left_by_other_code(params: Params, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    with monkeypatch.context() as before:
        before.setattr("scn.training.identity.training_code", lambda experiment: "c" * 64)
        return run_of(params).checkpoints


def test_the_best_comes_along_if_the_recipe_takes_it(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params, run, found = runs(take_best_every=5)
    old = left_by_other_code(params, monkeypatch)
    for step, score in ((5, 30.0), (6, 35.0), (7, 31.0), (8, 31.5)):
        old.save(step, found, score)
        old.wait()
    assert adopt(run, only_other(run.checkpoints)) == 8
    assert run.checkpoints.best_score() == (6, 35.0)
    assert run.checkpoints.load()[0] == 8  # type: ignore[index]
    elsewhere = run_of(params).checkpoints
    elsewhere.hand_over()  # without this machine's copies
    assert elsewhere.best()[0] == 6  # type: ignore[index]
    assert elsewhere.load()[0] == 8  # type: ignore[index]


def test_a_run_of_before_a_parameter_existed_is_gone_on_with(runs: Any) -> None:
    """Its identity lacks the key, whose default means what the code did then; its id is the hash of that identity."""
    _, run, found = runs()
    theirs = {**deepcopy(run.identity), "code_sha256": "c" * 64}
    del theirs["architecture"]["initial"], theirs["train"]["lanes"], theirs["order"]
    for step, identity in (
        (5, theirs),
        (9, {**theirs, "architecture": {**theirs["architecture"], "initial": "authors"}}),
    ):
        old = Checkpoints(store=run.store, folder=run.root / ".scn/runs", experiment="sr-x2", identity=identity)
        old.save(step, found)
        old.wait()
    told = {other.step: other.difference for other in run.checkpoints.others() if not other.other_code}
    assert told.keys() == {9}
    assert "architecture.initial is authors there, default here; code_sha256 is" in told[9]
    (same,) = (other for other in run.checkpoints.others() if other.other_code)
    assert same.difference.count(" is ") == 1  # the code
    assert adopt(run, same) == 5
    assert run.checkpoints.load()[0] == 5  # type: ignore[index]


def renamed(state: dict[str, Any]) -> None:
    state["network"] = {
        f"{key}.old" if not i else key: value for i, (key, value) in enumerate(state["network"].items())
    }


def reshaped(state: dict[str, Any]) -> None:
    first, *_ = state["network"]
    state["network"][first] = torch.zeros(1, 2, 3)


def reordered(state: dict[str, Any]) -> None:
    state["network"] = dict(reversed(state["network"].items()))


def of_another_history(state: dict[str, Any]) -> None:
    state["history"] = {"curves": []}


def of_another_optimizer(state: dict[str, Any]) -> None:
    del state["optimizer"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (renamed, r"\S+ is missing there; \S+\.old is only there"),
        (reshaped, r"\S+ has the shape \(1, 2, 3\) there, \(.*\) here"),
        (reordered, "its tensors come in another order"),
        (of_another_history, "TypeError: .*'curves'"),
        (of_another_optimizer, "KeyError: 'optimizer'"),
    ],
)
def test_what_does_not_fit_this_code_is_refused_before_it_is_saved(
    runs: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    params, run, found = runs()
    old = left_by_other_code(params, monkeypatch)
    change(found)
    old.save(5, found)
    old.wait()
    message = rf"^The checkpoint of step 5 of run {old.run_id} does not fit this code \({reason}\): go on with the code"
    with pytest.raises(UserError, match=message) as error:
        train_stage(params, "sr-x2", plain=True, resume_anyway=True)
    one_sentence(error)
    assert not run.checkpoints.folder.exists()
    assert run.checkpoints.load() is None
    assert old.load() is not None
    train_stage(params, "sr-x2", plain=True)  # begins anew


def test_trying_leaves_the_random_numbers_as_they_were(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params, run, found = runs()
    left_by_other_code(params, monkeypatch).save(5, found)
    before = torch.get_rng_state()
    assert adopt(run, only_other(run.checkpoints)) == 5
    assert torch.equal(torch.get_rng_state(), before)
