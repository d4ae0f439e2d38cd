"""The stage train@E: trains an experiment on its shards and writes models/<experiment>/ and its curves."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from scn.config.params import Params
from scn.core.errors import Stopped, UserError
from scn.core.hashing import file_sha256
from scn.inference.model_config import ancestors_of
from scn.inference.model_files import save_model
from scn.inference.precision import has_bfloat16
from scn.launch.commit import commit
from scn.launch.plan import start_weights
from scn.launch.ray_train import train_with_ray
from scn.launch.signals import Stopping
from scn.launch.world import plain_world
from scn.monitoring.progress import Progress
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage import open_store
from scn.storage.base import StoreError
from scn.storage.lease import Lease
from scn.storage.patience import reached
from scn.storage.writers import check_writers
from scn.training.adopting import adopt
from scn.training.arithmetic import Arithmetic
from scn.training.callbacks import Callbacks, Silent
from scn.training.checkpoint import State
from scn.training.learner import Learner, network_of
from scn.training.loop import History, Run, train
from scn.training.world import World, on_rank_0


def train_stage(
    params: Params,
    name: str,
    *,
    plain: bool = False,
    minutes: float | None = None,
    resume: bool | None = None,
    resume_anyway: bool = False,
) -> None:
    """Trains the experiment `name` from shards/<name>/train.json.

    Writes models/<name>/ (model.safetensors, config.json) when training is complete and curves/<name>/ on the way.

    Args:
        plain: train in this process, without Ray Train; under torchrun, in each of its processes.
        minutes: stop after this time, with a checkpoint; None: no limit.
        resume: True: there must be a checkpoint of the run to go on from; False: delete its checkpoints and start
            anew; None: go on if there is a checkpoint.
        resume_anyway: go on from a run that differs in nothing but its code, where this one has no checkpoint.
    Raises:
        Stopped: by SIGTERM, SIGINT or `minutes`; a checkpoint is stored.
        UserError: if the loop or the cluster raised it, or a manifest is missing.
    """
    experiment = params.experiment(name)
    # A mistake in what is read is told before anything is made.
    validates = experiment.train.take_best_every or experiment.run.validate_every
    manifest = training_manifest(params, name)
    evaluation = evaluation_manifest(params, name) if validates else None
    if set(manifest.corpora) != set(experiment.data.train) and "train" not in manifest.parameters:
        raise UserError(
            f"shards/{name}/train.json holds {', '.join(manifest.corpora)}, and data.train of {params.path} names "
            f"{', '.join(experiment.data.train)}: run `dvc repro shard@{name}`, or `data-prep shard -e {name} --out "
            f"shards/{name}`, with --images to train on others than data.train names."
        )
    try:
        experiment.train.check(manifest.images)
    except ValueError as error:
        raise UserError(f"train of {name}: {error}.") from None
    store = open_store(params.storage.url, params.root)
    reached(store, experiment.run.store_timeout_s).check()
    check_writers(store, single=params.storage.single_writer, publishing=False)
    weights = _start(params, name)
    run = Run(
        experiment=experiment,
        manifest=manifest,
        evaluation=evaluation,
        store=store,
        root=params.root.resolve(),
        start_sha256=file_sha256(weights) if weights else None,
        launch=uuid4().hex,
    )
    ancestors = []
    if weights and run.start_sha256:
        ancestors = ancestors_of(weights.parent, str(experiment.start_from), run.start_sha256)
    lease = Lease(store, run.checkpoints.lease, what=f"The run of {name}", id=run.launch)
    with ExitStack() as held:

        def begin(device: torch.device) -> Arithmetic | None:
            lease.take(run.patience.tell, stopping)
            held.enter_context(lease)
            with _stopped_by(stopping, run):
                return _begin(run, weights, resume, resume_anyway, device)

        with Stopping(minutes, lease.check) as stopping:
            if plain:
                with plain_world(experiment) as world:
                    on_rank_0(world, lambda: begin(world.device))
                    with _progress(run, params, world) as callbacks:
                        train(run, world, callbacks, stopping)
                    if world.rank:
                        return
            else:
                gpu = torch.cuda.is_available() and experiment.run.use_gpu
                before = begin(torch.device("cuda" if gpu else "cpu"))
                threads = before.threads if before else None
                with _progress(run, params, World()) as callbacks:
                    train_with_ray(run, params, callbacks, stopping, threads)
        _keep(run, params, ancestors)


def _start(params: Params, name: str) -> Path | None:
    """The file of weights to start from, None without; raises UserError if it is damaged, or none of it fits."""
    start_from = params.experiment(name).start_from
    if start_from is None:
        return None
    weights = start_weights(params, name)
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise UserError(f"start_from of {name}: {weights} is damaged ({error}): fetch or train it again.") from None
    taken = Learner(params.experiment(name), World()).start_from(tensors, start_from)
    print(f"{name}: starts from {start_from}: {taken} of its {len(tensors)} tensors fit", flush=True)
    return weights


@contextmanager
def _stopped_by(stopping: Stopping, run: Run) -> Iterator[None]:
    """Context in which a reason to stop ends the wait for a store that fails, by Stopped."""
    try:
        with run.patience.within(run.patience.tell, stopping):
            yield
    except StoreError as error:
        if why := stopping():
            raise Stopped(f"{run.experiment.name}: stopped ({why}) before it began; start it again") from error
        raise


def _begin(
    run: Run, weights: Path | None, resume: bool | None, resume_anyway: bool, device: torch.device
) -> Arithmetic | None:
    """Finds or deletes what earlier runs have left, and prints what differs from the request.

    Args:
        weights: the file of weights to start from, which all workers get from the store.

    Returns:
        How the run computes that is gone on with; None if there is none.
    """
    name, config = run.experiment.name, run.experiment.run
    if set(run.manifest.corpora) != set(run.experiment.data.train):
        corpora, train = ", ".join(run.manifest.corpora), ", ".join(run.experiment.data.train)
        print(f"{name}: trains on {corpora}, as --images of `data-prep shard` says, not on {train}", flush=True)
    if each := config.batch_per_worker:
        recipe = run.experiment.train
        print(
            f"{name}: batch of {recipe.batch_size} = {config.workers} workers x {each}; train.learning_rate stays "
            f"{recipe.learning_rate:g} (linear scaling would be {recipe.learning_rate * config.workers:g})",
            flush=True,
        )
    if what := run.experiment.train.cut_short(run.manifest.images):
        print(f"{name}: {what} within the {run.steps} steps of this run", file=sys.stderr, flush=True)
    _check_folder(run.root / ".scn" / "runs")
    if resume is False:
        run.checkpoints.begin(anew=True)
    found = run.checkpoints.load()
    _tell_damaged(run)
    if found is None and resume is not False:
        _look_for_others(run, resume, resume_anyway)
        found = run.checkpoints.load() if resume_anyway else None
    run.checkpoints.begin()
    run.checkpoints.wait()  # for what the store lacked: other machines are to find it
    if weights and run.start_sha256:
        run.patient_store.put_file(run.start, weights, sha256=run.start_sha256, names_content=True)
    if run.experiment.train.precision == "bfloat16" and "RAY_ADDRESS" not in os.environ and not has_bfloat16(device):
        print(f"{name}: this machine does not compute in bfloat16: float32 is used instead", flush=True)
    return Arithmetic.of(found[1]) if found else None


def _look_for_others(run: Run, resume: bool | None, resume_anyway: bool) -> None:
    """Without a checkpoint of this run: goes on from a run by other code if asked to, else tells of other runs."""
    name, others = run.experiment.name, run.checkpoints.others()
    same = next((other for other in others if other.other_code), None)
    if same and resume_anyway:
        step = adopt(run, same)
        _tell_damaged(run)
        print(f"{name}: goes on from step {step} of a run by other code, as asked; its card will say so", flush=True)
        return
    shown = same or next(iter(others), None)
    other = f" (another run stopped after step {shown.step}: {shown.difference})" if shown else ""
    if resume or resume_anyway:
        told = " by other code" if resume_anyway else ""
        cure = f"leave {'--resume-anyway' if resume_anyway else '--resume'} out"
        if same:  # leaving it out would begin anew
            cure = "go on with that run by --resume-anyway, or start anew with --no-resume"
        raise UserError(f"{name} has no unfinished run of this configuration{told} to go on with{other}: {cure}.")
    if shown:
        hint = "; --resume-anyway goes on from it" if same else ""
        print(f"{name}: starts a new run, as there is no unfinished one of this configuration{other}{hint}", flush=True)


def _tell_damaged(run: Run) -> None:
    for file in run.checkpoints.damaged:
        print(f"{run.experiment.name}: skips the damaged checkpoint {file}", file=sys.stderr, flush=True)


def _check_folder(folder: Path) -> None:
    """Raises UserError now, not when the first checkpoint is due, if none can be written to `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{folder}, the folder for checkpoints, can't be written ({error.strerror}): make room there or make it "
            "writable."
        ) from None


@contextmanager
def _progress(run: Run, params: Params, world: World) -> Iterator[Callbacks]:
    """Yields the callbacks that show the run; on ranks other than 0 they do nothing."""
    if world.rank:
        yield Silent()
        return
    grouped = run.experiment.train.group_mib is not None
    progress = Progress(run.experiment.name, run.steps, params.root / "curves" / run.experiment.name, grouped=grouped)
    try:
        yield progress
    finally:
        progress.close()


def _keep(run: Run, params: Params, ancestors: list[dict[str, Any]]) -> None:
    """Writes models/<experiment>/ from the last checkpoint, or the best one, and deletes the checkpoints.

    Args:
        ancestors: the weights that the run started from, as scn.inference.model_config.ancestors_of tells of them.
    """
    experiment = run.experiment
    name = experiment.name
    last = run.checkpoints.load()
    if last is None or last[0] != run.steps:
        raise UserError(f"The last checkpoint of {name} is gone from {run.store.url}: start the training again.")
    _tell_damaged(run)
    step, state = _best(run, last) if experiment.train.take_best_every is not None else last
    history = History.of(last[1]["history"])
    about = {
        "experiment": name,
        "task": experiment.task_name,
        "level": experiment.level,
        "identity": run.identity,
        "start_from": experiment.start_from,
        "steps": run.steps,
        "step": step,
        "made_by": history.made_by,
        "training_corpora": run.manifest.corpora,
        "ancestors": ancestors,
        "edges": run.manifest.parameters.get("edges"),
        "seconds": _seconds(history.rows),
        "machine": " and ".join(history.machines),
        "commit": commit(),
    }
    save_model(params.root / "models" / name, network_of(experiment, state), experiment.architecture(), about)
    run.checkpoints.delete()
    run.checkpoints.remove_ended()


def _best(run: Run, last: tuple[int, State]) -> tuple[int, State]:
    """The best checkpoint that can be read; says so if that is not the best one."""
    name, first = run.experiment.name, run.checkpoints.best_score()
    if first is None:
        print(f"{name}: no validation gave a number: the model is that of the last step", file=sys.stderr, flush=True)
        return last
    best = run.checkpoints.best()
    _tell_damaged(run)
    if best is None:  # the last weights are not what was asked for, and may be far worse
        raise UserError(
            f"Every checkpoint of {name} that was validated is damaged ({', '.join(run.checkpoints.damaged)}): bring "
            "one back from a copy and start the training again, or start anew with --no-resume."
        )
    if best[0] != first[0]:
        print(
            f"{name}: the best checkpoint, of step {first[0]} and {first[1]:.2f} dB, is damaged: the model is that of "
            f"step {best[0]} and {best[1]['score']:.2f} dB, the best that can be read",
            file=sys.stderr,
            flush=True,
        )
    return best


def _seconds(rows: list[dict[str, float]]) -> int:
    """Seconds that all steps of a run took, in all of its processes one after the other, without their starts."""
    before = 0.0
    total = 0.0
    for row in rows:
        total += (row["step"] - before) * row["step_time"]
        before = row["step"]
    return round(total)
