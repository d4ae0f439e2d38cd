"""The store fails in the middle of a run: it is waited for, and what is done is kept when it is given up."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import pytest
import torch
import torch.distributed as dist

from scn.config.params import Params, load_params
from scn.core.errors import Stopped, UserError
from scn.data.feed import Feed
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage.base import StoreError
from scn.storage.lease import LeaseLost
from scn.storage.local import FileStore
from scn.training import learner, loop
from scn.training.callbacks import Row, Silent
from scn.training.loop import Run, World, train

Project = Callable[..., Params]
GROUPS = {"group_mib": 0.01, "cache_mib": 0, "checkpoint_every": 100}
"""Every epoch of 15 steps reads its images from the store; no checkpoint is due before the last step."""


class Away(FileStore):
    """A store whose shards can't be read `failures` times, from the reading number `first` on."""

    def __init__(self, folder: Path, first: int = 0, failures: float = 0) -> None:
        super().__init__(folder)
        self.first, self.failures, self.readings = first, failures, 0

    def _read(self, key: str, file: IO[bytes]) -> None:
        if key.startswith("shards/"):
            self.readings += 1
            if self.readings > self.first and self.failures:
                self.failures -= 1
                raise StoreError(f"No answer for {self.url}/{key}: start the service.")
        super()._read(key, file)


def run_of(params: Params, store: FileStore, root: Path | None = None, *, validates: bool = False) -> Run:
    manifest, evaluation = training_manifest(params, "sr-x2"), evaluation_manifest(params, "sr-x2")
    return Run(
        experiment=params.experiment("sr-x2"),
        manifest=manifest,
        evaluation=evaluation if validates else None,
        store=store,
        root=root or params.root,
    )


def state_after(run: Run) -> dict[str, Any]:
    found = run.checkpoints.load()
    assert found is not None
    assert found[0] == run.steps
    return found[1]


def undisturbed(params: Params, folder: Path, **options: Any) -> dict[str, Any]:
    """The state at the end of the same run without any fault, in another place."""
    store = FileStore(folder / "store")
    theirs = FileStore(params.root / "store")
    for key in theirs.list("shards/"):
        store.put(key, theirs.get(key))
    run = run_of(params, store, folder, **options)
    train(run, World(), Silent(), lambda: "")
    return state_after(run)


def assert_same(state: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, tensor in expected["network"].items():
        assert torch.equal(state["network"][name], tensor), name
    assert state["history"]["validations"] == expected["history"]["validations"]
    assert torch.equal(state["history"]["rows"]["loss"], expected["history"]["rows"]["loss"])


def test_a_store_that_is_away_for_a_while_changes_no_bit(project: Project, tmp_path: Path) -> None:
    params = project("sr-x2", epochs=3, **GROUPS)
    store = Away(params.root / "store", first=1, failures=5)
    run = run_of(params, store)
    train(run, World(), Silent(), lambda: "")
    assert (store.failures, store.readings) == (0, 3 + 5)
    assert_same(state_after(run), undisturbed(params, tmp_path / "undisturbed"))


def test_a_store_that_does_not_come_back_costs_no_step(project: Project, tmp_path: Path) -> None:
    params = project("sr-x2", epochs=3, store_timeout_s=0, **GROUPS)
    run = run_of(params, Away(params.root / "store", first=1, failures=float("inf")))
    with pytest.raises(StoreError) as error:
        train(run, World(), Silent(), lambda: "")
    (file,) = run.checkpoints.folder.glob("step-*.pt")
    assert str(error.value).startswith(
        f"The store has failed for 0 seconds (No answer for {run.store.url}/{run.manifest.shards[0].key}: start the "
        "service): start the run again with the store in order; nothing is lost, step 15 is in "
    )
    assert str(error.value).endswith(f"{file}.")
    again = run_of(params, FileStore(params.root / "store"))
    train(again, World(), Silent(), lambda: "")
    assert_same(state_after(again), undisturbed(params, tmp_path / "undisturbed"))


def test_a_run_stops_while_it_waits_for_the_store(project: Project) -> None:
    params = project("sr-x2", epochs=3, log_every=5, **GROUPS)
    run = run_of(params, Away(params.root / "store", first=1, failures=float("inf")))
    seen: list[int] = []

    class Counting(Silent):
        def on_log(self, row: Row) -> None:
            seen.append(int(row["step"]))

    with pytest.raises(Stopped, match=r"sr-x2: stopped \(SIGTERM\); the same command goes on from its last checkpoint"):
        train(run, World(), Counting(), lambda: "SIGTERM" if 15 in seen else "")
    assert [name.step for name in run.checkpoints._here.names()] == [15]


def test_a_validation_that_could_not_be_read_is_made_up_for(project: Project, tmp_path: Path) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0, take_best_every=5, store_timeout_s=0)
    stops = iter(["", "", "", "", "", "", "now"])
    with pytest.raises(Stopped, match="stopped after step 7"):
        train(run_of(params, FileStore(params.root / "store"), validates=True), World(), Silent(), lambda: next(stops))
    away = run_of(params, Away(params.root / "store", first=1, failures=float("inf")), validates=True)
    with pytest.raises(StoreError, match="nothing is lost, step 10 is in"):
        train(away, World(), Silent(), lambda: "")
    again = run_of(params, FileStore(params.root / "store"), validates=True)
    train(again, World(), Silent(), lambda: "")
    expected = undisturbed(params, tmp_path / "undisturbed", validates=True)
    assert [record["step"] for record in expected["history"]["validations"]] == [0, 5, 10, 15]
    assert_same(state_after(again), expected)
    best = again.checkpoints.best_score()
    scores = {record["step"]: record["psnr"]["pictures/test"] for record in expected["history"]["validations"][1:]}
    assert best == max(scores.items(), key=lambda pair: pair[1])


def test_a_finished_run_that_goes_on_reads_no_image(project: Project) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0, validate_every=5)
    train(run_of(params, FileStore(params.root / "store"), validates=True), World(), Silent(), lambda: "")
    store = Away(params.root / "store")
    train(run_of(params, store, validates=True), World(), Silent(), lambda: "")
    assert store.readings == 0


def rank(number: int, root: str) -> None:
    """One of two ranks, of which the second can't read the images of the second epoch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=number, world_size=2)
    params = load_params(Path(root) / "params.yaml")
    run = run_of(params, Away(Path(root) / "store", first=1, failures=float("inf") if number else 0))
    with pytest.raises(StoreError) as error:
        train(run, World(rank=number, world_size=2), Silent(), lambda: "")
    (Path(root) / f"told-{number}").write_text(str(error.value))
    dist.destroy_process_group()


def losing_rank(number: int, root: str) -> None:
    """One of two ranks, of which the first loses the run's lease in the fourth step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=number, world_size=2)
    run = run_of(load_params(Path(root) / "params.yaml"), FileStore(Path(root) / "store"))
    asked = iter([False, False, False, number == 0])

    def stopping() -> str:
        if next(asked):
            raise LeaseLost("The run was taken over.")
        return ""

    with pytest.raises(LeaseLost, match=r"The run was taken over\."):
        train(run, World(rank=number, world_size=2), Silent(), stopping)
    dist.destroy_process_group()


def failing_rank(number: int, root: str) -> None:
    """One of two ranks, of which the second fails at several places of a run, in one run after the other."""
    torch.set_num_threads(1)
    meeting = f"file://{root}/meet"
    dist.init_process_group("gloo", meeting, timedelta(seconds=60), rank=number, world_size=2)
    params = load_params(Path(root) / "params.yaml")
    told = []
    for owner, name, calls in (
        (learner.Learner, "__init__", 0),
        (loop, "open_feed", 0),
        (Feed, "prepare", 0),
        (Feed, "batch", 3),
    ):
        with pytest.MonkeyPatch.context() as patch:
            if number:
                patch.setattr(owner, name, failing(f"There is no {name}.", after=calls, real=getattr(owner, name)))
            with pytest.raises(UserError) as error:
                train(
                    run_of(params, FileStore(Path(root) / "store")),
                    World(rank=number, world_size=2),
                    Silent(),
                    lambda: "",
                )
        told.append(str(error.value))
    (Path(root) / f"told-{number}").write_text("\n".join(told))
    dist.destroy_process_group()


def failing(sentence: str, *, after: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that fails after so many calls of the real one."""
    calls = iter(range(1000))

    def function(*given: Any, **named: Any) -> Any:
        if next(calls) >= after:
            raise UserError(sentence)
        return real(*given, **named)

    return function


def test_no_rank_waits_for_one_that_fails(project: Project) -> None:
    params = project("sr-x2", checkpoint_every=100)
    torch.multiprocessing.spawn(failing_rank, (str(params.root),), nprocs=2)  # type: ignore[no-untyped-call]
    for number in range(2):
        assert (params.root / f"told-{number}").read_text().splitlines() == [
            "There is no __init__.",
            "There is no open_feed.",
            "There is no prepare.",
            "There is no batch; the checkpoint of step 3 is kept.",
        ]
    assert list(params.root.rglob("step-00000003-*.pt"))


def test_every_rank_ends_when_one_has_lost_the_run(project: Project) -> None:
    params = project("sr-x2", checkpoint_every=100)
    torch.multiprocessing.spawn(losing_rank, (str(params.root),), nprocs=2)  # type: ignore[no-untyped-call]
    assert not list(params.root.rglob("step-*.pt"))


def test_no_rank_waits_for_one_that_gives_up(project: Project) -> None:
    params = project("sr-x2", epochs=3, store_timeout_s=0, **GROUPS)
    torch.multiprocessing.spawn(rank, (str(params.root),), nprocs=2)  # type: ignore[no-untyped-call]
    (file,) = (params.root / ".scn" / "runs" / "sr-x2").glob("*/step-00000015-*.pt")
    for number in range(2):
        told = (params.root / f"told-{number}").read_text()
        assert told.startswith("The store has failed for 0 seconds (No answer for ")
        assert told.endswith(f"nothing is lost, step 15 is in {file}.")
