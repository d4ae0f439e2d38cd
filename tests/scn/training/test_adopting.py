"""A run goes on from one by other code: from its newest checkpoint, with its best one, if they fit."""

import pytest
from saved_runs import IDENTITY, Machine, assert_found, damage, names, one_sentence, save_all

from scn.core.errors import UserError
from scn.storage.base import Store
from scn.training.checkpoint import Checkpoints
from scn.training.other_runs import Other

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
    (found,) = new.of_other(only_other(new))
    assert_found(found, 900)
    assert store.list() == before


def test_what_another_machine_has_begun_anew_does_not_come_back(machine: Machine, store: Store) -> None:
    save_all(machine(store, "a", OLD), 100)
    again = machine(store, "b", OLD)
    again.begin(anew=True)
    new = machine(store, "a", NEW)
    with pytest.raises(UserError, match=r"^Run [0-9a-f]{16} has no checkpoint that can be read: start anew") as error:
        new.of_other(only_other(new))
    one_sentence(error)
    save_all(machine(store, "a", OLD), 100)
    again.begin(anew=True)
    save_all(again, 50)
    (found,) = new.of_other(only_other(new))
    assert_found(found, 50)


def test_a_run_of_another_configuration_is_refused(machine: Machine, store: Store) -> None:
    save_all(machine(store, "a", {**OLD, "level": 3}), 100)
    new = machine(store, "a", NEW)
    with pytest.raises(UserError, match=r"is of another configuration \(.*level is 3 there, 2 here\): start anew"):
        new.of_other(new.others()[0])


def test_damaged_ones_are_skipped_and_named(machine: Machine, store: Store) -> None:
    old = machine(store, "a", OLD)
    save_all(old, 100, 200, 300, scores=(31.0, 35.0, 30.0))
    newest = next(old.folder.glob("step-00000300-*"))
    damage(newest)
    new = machine(store, "a", NEW)
    (last,) = new.of_other(only_other(new))
    assert_found(last, 300)  # the store's copy
    assert new.damaged == [str(newest)]
    for name in names(old.folder):
        store.delete(f"runs/sr-x2/{old.run_id}/{name}")
        damage(old.folder / str(name))
    with pytest.raises(UserError, match=r"no checkpoint that can be read \(damaged: .*step-00000200-.*\): start anew"):
        new.of_other(only_other(new))
