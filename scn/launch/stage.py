"""The stage train@E: from a manifest of shards to models/<experiment>/ and its curves."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.inference.model_files import save_model
from scn.inference.precision import has_bfloat16
from scn.launch.machine import commit, machine
from scn.launch.plan import start_weights
from scn.launch.ray_train import train_with_ray
from scn.launch.signals import Stopping
from scn.launch.world import plain_world
from scn.monitoring.progress import Progress
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage import open_store
from scn.storage.base import Store
from scn.training.callbacks import Callbacks, Silent
from scn.training.learner import Learner, network_of
from scn.training.loop import Run, train
from scn.training.world import World


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
        plain: the loop in this process, without Ray Train; under torchrun, in each of its processes.
        minutes: stop after so many, with a checkpoint.
        resume: go on from the newest checkpoint of the same run: True must find one, False deletes them.
        resume_anyway: go on from a run that differs in nothing but the code that made it.
    Raises:
        Stopped: by SIGTERM, SIGINT or `minutes`, when a checkpoint is stored.
        UserError: of the loop, of the cluster, or for a manifest that is missing.
    """
    experiment = params.experiment(name)
    store = open_store(params.storage.url, params.root)
    store.check()
    start, start_sha256 = _start(params, name, store)
    validates = experiment.train.take_best_every or experiment.run.validate_every
    run = Run(
        experiment=experiment,
        manifest=training_manifest(params, name),
        evaluation=evaluation_manifest(params, name) if validates else None,
        store=store,
        root=params.root.resolve(),
        start=start,
        start_sha256=start_sha256,
    )
    try:
        experiment.train.check(run.manifest.images)
    except ValueError as error:
        raise UserError(f"train of {name}: {error}.") from None
    if plain:
        with plain_world(experiment) as world, Stopping(minutes) as stopping:
            if world.rank == 0:
                _begin(run, resume, resume_anyway, world.device)
            with _progress(run, params, world) as callbacks:
                train(run, world, callbacks, stopping)
            if world.rank:
                return
    else:
        gpu = torch.cuda.is_available() and experiment.run.use_gpu
        _begin(run, resume, resume_anyway, torch.device("cuda" if gpu else "cpu"))
        with _progress(run, params, World()) as callbacks:
            train_with_ray(run, params, callbacks, minutes)
    _keep(run, params)


def _start(params: Params, name: str, store: Store) -> tuple[str, str | None]:
    """Puts the weights that the run starts from into the store, where all its workers find them: key and SHA-256."""
    start_from = params.experiment(name).start_from
    if start_from is None:
        return "", None
    weights = start_weights(params, name)
    tensors = load_file(weights)
    taken = Learner(params.experiment(name), World()).start_from(tensors, start_from)
    print(f"{name}: starts from {start_from}, {taken} of whose {len(tensors)} tensors fit", flush=True)
    sha256 = file_sha256(weights)
    key = f"runs/{name}/start-{sha256[:16]}.safetensors"
    store.put_file(key, weights)
    return key, sha256


def _begin(run: Run, resume: bool | None, resume_anyway: bool, device: torch.device) -> None:
    """Deals with what earlier runs have left, and says what is not as asked for."""
    name = run.experiment.name
    _check_folder(run.root / ".scn" / "runs")
    if resume is False:
        run.checkpoints.delete()
    found = run.checkpoints.load()
    for file in run.checkpoints.damaged:
        print(f"{name}: passes over {file}, which is damaged", file=sys.stderr, flush=True)
    if found is None and resume is not False:
        _look_for_others(run, resume, resume_anyway)
    if run.experiment.train.precision == "bfloat16" and "RAY_ADDRESS" not in os.environ and not has_bfloat16(device):
        print(f"{name}: this machine does not compute in bfloat16, float32 takes its place", flush=True)


def _look_for_others(run: Run, resume: bool | None, resume_anyway: bool) -> None:
    """Where no checkpoint of this run is left: goes on from one of other code, if that is asked for, or tells of it."""
    name, others = run.experiment.name, run.checkpoints.others()
    same = next((other for other in others if other.other_code), None)
    if same and resume_anyway:
        step = run.checkpoints.adopt(same)
        print(f"{name}: goes on from step {step} of a run that other code made, as asked; its card says so", flush=True)
        return
    shown = same or next(iter(others), None)
    other = f" (one of another stopped after step {shown.step}: {shown.difference})" if shown else ""
    if resume or resume_anyway:
        told = " by other code" if resume_anyway else ""
        raise UserError(
            f"{name} has no unfinished run of this configuration{told} to go on with{other}: leave "
            f"{'--resume-anyway' if resume_anyway else '--resume'} out."
        )
    if shown:
        hint = "; --resume-anyway goes on from it" if same else ""
        print(f"{name}: a new run, as there is no unfinished one of this configuration{other}{hint}", flush=True)


def _check_folder(folder: Path) -> None:
    """UserError if no checkpoint can be written there: now, not when the first one is due."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{folder}, where checkpoints lie first, can't be written ({error.strerror}): make room, or make it "
            "writable."
        ) from None


@contextmanager
def _progress(run: Run, params: Params, world: World) -> Iterator[Callbacks]:
    """What shows the run; on the other ranks nothing does."""
    if world.rank:
        yield Silent()
        return
    progress = Progress(run.experiment.name, run.steps, params.root / "curves" / run.experiment.name)
    try:
        yield progress
    finally:
        progress.close()


def _keep(run: Run, params: Params) -> None:
    """Writes models/<experiment>/ from the last checkpoint, or the best one, and deletes the checkpoints."""
    experiment = run.experiment
    name = experiment.name
    last = run.checkpoints.load()
    if last is None or last[0] != run.steps:
        raise UserError(f"The last checkpoint of {name} is gone from {run.store.url}: start the training again.")
    best = run.checkpoints.best() if experiment.train.take_best_every is not None else None
    step, state = best or last
    about = {
        "experiment": name,
        "task": experiment.task_name,
        "level": experiment.level,
        "identity": run.identity,
        "start_from": experiment.start_from,
        "steps": run.steps,
        "step": step,
        "made_by": last[1]["history"]["made_by"],
        "training_corpora": run.manifest.corpora,
        "seconds": _seconds(last[1]["history"]["rows"]),
        "machine": machine(),
        "commit": commit(),
    }
    save_model(params.root / "models" / name, network_of(experiment, state), experiment.architecture(), about)
    run.checkpoints.delete()
    if run.start:
        run.store.delete(run.start)


def _seconds(rows: list[dict[str, float]]) -> int:
    """Seconds that all steps of a run took, in all of its processes one after the other, without their starts."""
    before = 0.0
    total = 0.0
    for row in rows:
        total += (row["step"] - before) * row["step_time"]
        before = row["step"]
    return round(total)
