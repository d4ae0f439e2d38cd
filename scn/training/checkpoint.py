"""Checkpoints of a run in progress: on this machine first, then in the store, where every machine finds them.

    runs/<experiment>/<run id>/step-<step>-<hash>.pt           written by torch.save; 16 hex digits of its SHA-256
    runs/<experiment>/<run id>/step-<step>-<hash>-<score>.pt   the same, after a validation
    runs/<experiment>/<run id>/identity.json                   the run's identity, generation, and time of its start
    runs/<experiment>/<run id>/lease.json                      the launch that may train it (scn.storage.lease)

On this machine the same files lie in <folder>/<experiment>/<run id>/. The names alone tell which checkpoint is
undamaged, the newest and the best: there is no index that a killed process could leave wrong. Only rank 0 saves.

A run that begins anew is of a new generation, a random word. What lies on a machine's disk from another generation
than the store's is removed, not loaded.
"""

import io
import json
import math
import shutil
import threading
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.storage.base import Store, StoreError
from scn.storage.lease import check_lease
from scn.storage.local import FileStore
from scn.storage.patience import Patience, PatientStore
from scn.training.checkpoint_files import LEASE, Name, Place, best, last, until
from scn.training.other_runs import Other, compared, others, remove_ended

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of one run: the last `keep` and the best one, on this machine and in the store."""

    def __init__(
        self,
        *,
        store: Store,
        folder: Path,
        experiment: str,
        identity: dict[str, Any],
        keep: int = 2,
        patience: Patience | None = None,
        launch: str = "",
    ) -> None:
        """
        Args:
            store: holds a copy of the checkpoints for all machines.
            folder: on this machine, for the checkpoints of all experiments' runs.
            experiment: the experiment's name.
            identity: everything that decides the run's result, as JSON can hold it; its hash is the run id.
            keep: number of latest checkpoints to keep besides the best one.
            patience: how long the store may fail before an error is raised; None: 600 seconds.
            launch: the holder of the run's lease, for which this process works: once another one has it, nothing in
                the store is written or deleted any more. Empty: there is no lease.
        """
        self.run_id = digest(identity)[:16]
        self.folder = folder.absolute() / experiment / self.run_id
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))
        self._patience = patience or Patience(store.url, 600)
        self._siblings = [
            Place(FileStore(folder.absolute()), f"{experiment}/"),
            Place(PatientStore(store, self._patience), f"runs/{experiment}/"),
        ]
        self._here, self._there = (Place(place.store, f"{place.prefix}{self.run_id}/") for place in self._siblings)
        self._sending = self._there._replace(store=store)  # the thread that sends is patient as a whole
        self.lease = f"{self._there.prefix}{LEASE}"
        """Key of the run's lease in the store."""
        self._what, self._launch = f"The run of {experiment}", launch
        self._generation = uuid.uuid4().hex  # unless the run has one already
        self._keep = keep
        self.damaged: list[str] = []
        """Paths and URLs of the damaged files that the last call of `load`, `best` or `of_other` skipped."""
        self._good: Name | None = None  # the last one loaded or saved
        self._newest: Name | None = None  # the last one saved, which is to be in the store
        self._sender: threading.Thread | None = None
        self._failure: Exception | None = None
        self._changed = threading.Condition()

    def save(self, step: int, state: State, score: float | None = None) -> None:
        """Writes the state after `step` steps to this machine's disk; a thread then copies it to the store.

        A checkpoint that is still waiting for the store is dropped for a newer one, unless it is the best so far.

        Args:
            state: tensors, numbers, strings, None, and lists and dicts of them; `identity` and `score` are added.
            score: the result of a validation, higher is better; one that is not finite counts as None.
        Raises:
            UserError: if it can't be written to the disk (the checkpoint before stays), or another launch has taken
                the run's lease.
            StoreError: if the store has failed for too long; this checkpoint is on the disk nevertheless.
        """
        score = float(score) if score is not None and math.isfinite(score) else None
        buffer = io.BytesIO()
        torch.save({**state, "identity": self._identity, "score": score}, buffer)
        data = buffer.getvalue()
        _decode(data)  # a checkpoint that can't be loaded must fail now, not when it is needed
        name = Name.of(step, data, score)
        try:
            self._note(self._here)
            self._here.write(name, data)
        except StoreError as error:
            reason = getattr(error.__cause__, "strerror", None) or _clause(error)
            anew = f"goes on from step {self._good.step}, the last good one" if self._good else "begins anew"
            raise UserError(
                f"The checkpoint of step {step} can't be written to {self.folder} ({reason}): make room there or make "
                f"the folder writable, and start the run again, which {anew}."
            ) from error
        self._good = name
        self._store(name)
        self._here.prune(name, self._keep)
        self._tell_failure()

    def wait(self) -> None:
        """Waits until the store has the newest and the best checkpoint; StoreError if it has failed for too long."""
        with self._changed:
            self._changed.wait_for(lambda: self._sender is None)
        self._tell_failure()

    def begin(self, *, anew: bool = False) -> None:
        """Takes up the run that the store or this machine knows, or begins one; called before any machine loads.

        Args:
            anew: deletes what there is of the run; then no machine goes on with what lies on its disk.
        Raises:
            StoreError: if the store has failed for too long.
        """
        if anew:
            self.delete()
            self._generation = uuid.uuid4().hex
        self._agree()
        self._note(self._there)

    def load(self) -> tuple[int, State] | None:
        """Loads the newest undamaged checkpoint, from this machine or else from the store.

        One that the store lacks, because it failed, is sent there by the thread.

        Returns:
            (steps done, state with tensors on the CPU); None if there is no checkpoint.
        Raises:
            UserError: if every checkpoint is damaged, or the newest one belongs to another configuration (the message
                says what differs) or is a pickle with code, which is never executed.
            StoreError: if the store has failed for too long.
        """
        self._agree()
        stored = self._there.names()
        found = self._first(last(self._here.names() | stored))
        self._good = found[0] if found else None
        if not found and self.damaged:
            raise UserError(
                f"Every checkpoint of the run is damaged ({', '.join(self.damaged)}): bring one back from a copy, or "
                "start anew with --no-resume, which deletes them."
            )
        if found and found[0] not in stored:
            self._store(found[0])
        return (found[0].step, found[1]) if found else None

    def best(self) -> tuple[int, State] | None:
        """Loads the undamaged checkpoint with the highest score, of equal ones the earliest.

        Returns:
            (steps done, state, which holds the score); None if no undamaged checkpoint has a score.
        Raises:
            UserError: if it belongs to another configuration, or is a pickle with code, which is never executed.
            StoreError: if the store has failed for too long.
        """
        found = self._first(best(self._names()))
        return (found[0].step, found[1]) if found else None

    def best_score(self) -> tuple[int, float] | None:
        """Returns step and score of the best checkpoint, read from its name alone.

        Raises:
            StoreError: if the store has failed for too long.
        """
        return next(((name.step, name.score) for name in best(self._names()) if name.score is not None), None)

    def others(self) -> list[Other]:
        """Returns the experiment's unfinished runs with another identity, the one that was started last first.

        Reads names and identities only; StoreError if the store has failed for too long.
        """
        return others(self._siblings, self.run_id, self._identity)

    def of_other(self, other: Other, *, with_best: bool) -> list[tuple[int, State]]:
        """Loads from the run `other` what this one may go on from: the newest undamaged checkpoint.

        Args:
            with_best: load the undamaged one with the highest score too.
        Returns:
            (steps done, state with tensors on the CPU) of each, the newest last.
        Raises:
            UserError: if `other` differs in more than the code, or has no checkpoint that can be read.
            StoreError: if the store has failed for too long.
        """
        if other.identity is None:
            raise UserError(f"Run {other.run_id} is of another configuration ({other.difference}): start anew.")
        theirs = Checkpoints(
            store=self._sending.store,
            folder=self.folder.parents[1],
            experiment=self.folder.parent.name,
            identity=other.identity,  # as it was noted: its hash is the run's id
            patience=self._patience,
        )
        theirs._agree()
        names = theirs._names()
        newest = theirs._first(last(names))
        self.damaged = theirs.damaged
        if not newest:
            damaged = f" (damaged: {', '.join(self.damaged)})" if self.damaged else ""
            raise UserError(
                f"Run {other.run_id} has no checkpoint that can be read{damaged}: start anew with --no-resume."
            )
        found = {newest[0]: newest[1]}
        if with_best and (best_one := theirs._first(best(until(newest[0], names)))):
            found = {best_one[0]: best_one[1], **found}
        self.damaged = list(dict.fromkeys([*self.damaged, *theirs.damaged]))
        return [(name.step, state) for name, state in found.items()]

    def hand_over(self) -> None:
        """Waits until the store has the checkpoints, then deletes this machine's copies.

        Called after the last step, when another machine may take the result from the store. Raises as `wait`.
        """
        self.wait()
        self._clear_here()

    def delete(self) -> None:
        """Deletes the run's checkpoints and identity, on this machine and in the store.

        Raises:
            UserError: if another launch has taken the run's lease.
            StoreError: if the store has failed for too long.
        """
        with self._changed:
            self._good = self._newest = None
            self._changed.wait_for(lambda: self._sender is None)
            self._failure = None
        self._check_lease(self._there.store)
        self._clear_here()
        self._there.clear()

    def remove_ended(self) -> None:
        """Removes what this machine holds of other runs of the experiment that have ended, as the store tells."""
        remove_ended(self.folder.parent, self._siblings[1]._replace(store=self._sending.store), self.run_id)

    def _note(self, place: Place) -> None:
        place.note(self._identity, self._generation, self._sending.store.url)

    def _clear_here(self) -> None:
        self._here.clear()
        shutil.rmtree(self.folder, ignore_errors=True)  # temporary files of killed processes

    def _agree(self) -> None:
        """Takes over the generation that the store knows; removes what lies here from another one."""
        there, here = self._there.about(), {}
        with suppress(StoreError):  # a bad block of a disk
            here = self._here.about()
        if there or here:
            self._generation = str((there or here).get("generation", ""))
        if there and here.get("generation", "") != self._generation:
            self._clear_here()

    def _check_lease(self, store: Store) -> None:
        if self._launch:
            check_lease(store, self.lease, self._launch, self._what)

    def _names(self) -> set[Name]:
        return self._here.names() | self._there.names()

    def _first(self, names: Iterable[Name]) -> tuple[Name, State] | None:
        """The first checkpoint that is undamaged here or, if not, in the store."""
        self.damaged = []
        for name in names:
            place, data = self._here, None
            with suppress(StoreError):  # a bad block of a disk is damage too
                data = place.read(name)
            if data is None:
                if (self.folder / str(name)).exists():
                    self.damaged.append(str(self.folder / str(name)))
                place = self._there
                data = place.read(name)
            if data is None:
                if name in place.names():
                    self.damaged.append(f"{place.store.url}/{place.prefix}{name}")
                continue
            file = f"{place.store.url}/{place.prefix}{name}"
            try:
                state = _decode(data)
            except Exception as error:  # torch.load has many
                raise UserError(
                    f"{file} is no checkpoint of a run, and no code in it was executed: delete it and find out who "
                    "put it there."
                ) from error
            if state.get("identity") != self._identity:
                difference = compared(state, self._identity)
                raise UserError(
                    f"The checkpoint {file} is of another configuration ({difference}): delete it to go on without it."
                )
            return name, state
        return None

    # The thread

    def _store(self, name: Name) -> None:
        """Lets a thread store the checkpoint `name`, which is here."""
        with self._changed:
            self._newest = name
            if self._sender is None and self._failure is None:
                # A daemon: it does not keep alive a process that ends.
                self._sender = threading.Thread(target=self._send, name="checkpoints", daemon=True)
                self._sender.start()

    def _send(self) -> None:
        """Copies the newest and the best checkpoint to the store; ends when no newer one was saved meanwhile."""
        while True:
            sent, failure = None, None
            try:
                sent = self._patience(self._mirror, needless=lambda: self._newest is None)
            except Exception as error:
                failure = error
            with self._changed:
                if failure or sent == self._newest:
                    self._failure, self._sender = failure, None
                    self._changed.notify_all()
                    return

    def _mirror(self) -> Name | None:
        """Stores the newest checkpoint, and the best if it is here; returns the newest, or None if all are deleted."""
        newest = self._newest
        if newest is None:
            return None
        there = self._sending
        self._check_lease(there.store)
        self._note(there)
        stored = there.names()
        known = until(newest, self._here.names() | stored)
        for name in dict.fromkeys([newest, *best(known)[:1]]):
            if name in stored and name != newest:  # the newest is compared: it may be there and damaged
                continue
            data = self._here.read(name)
            if data is not None:
                there.write(name, data)
            elif name == self._newest:  # else a newer one has taken its place
                raise UserError(
                    f"{self.folder / str(name)} was damaged or removed before it was stored: check the disk, and start "
                    "the run again, which goes on from the checkpoint before."
                )
        self._check_lease(there.store)  # which may have been lost while the checkpoint was sent
        there.prune(newest, self._keep)
        return newest

    def _tell_failure(self) -> None:
        if isinstance(self._failure, StoreError):
            raise self.failed(self._failure) from self._failure
        if self._failure:
            raise self._failure

    def failed(self, error: StoreError) -> StoreError:
        """Returns the error to end a run with whose store has failed for too long: it says what is kept, and where."""
        kept = f"; nothing is lost, step {self._good.step} is in {self.folder / str(self._good)}" if self._good else ""
        return StoreError(
            f"The store has failed for {self._patience.seconds:g} seconds ({_clause(error)}): start the run again with "
            f"the store in order{kept}."
        )


def _decode(data: bytes) -> State:
    """The state of a checkpoint; weights_only knows tensors and plain values, and executes no code."""
    return dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))


def _clause(error: Exception) -> str:
    """The message of an error as a part of another sentence."""
    return str(error).removesuffix(".")
