"""The stage train@E: from a shard manifest to models/<experiment>/ and its curves."""

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
from scn.inference.model_files import WEIGHTS, save_model
from scn.inference.precision import has_bfloat16
from scn.launch.ray_train import train_with_ray
from scn.launch.signals import Stopping
from scn.launch.world import plain_world
from scn.monitoring.progress import Monitor
from scn.registry.publish import find
from scn.shards.manifest import experiment_manifest
from scn.storage import open_store
from scn.storage.base import Store
from scn.training.learner import Learner, network_of
from scn.training.loop import Hooks, Run, train
from scn.training.world import World


def train_stage(
    params: Params, name: str, *, plain: bool = False, minutes: float | None = None, resume: bool | None = None
) -> None:
    """Trains the experiment `name` from shards/<name>/manifest.json.

    Writes models/<name>/ (model.safetensors, config.json) when training is complete and curves/<name>/ on the way.

    Args:
        plain: the loop in this process, without Ray Train; under torchrun, in each of its processes.
        minutes: stop after so many, with a checkpoint.
        resume: go on from the newest checkpoint of the same run: True must find one, False deletes them.
    Raises:
        Stopped: by SIGTERM, SIGINT or `minutes`, when a checkpoint is stored.
        UserError: of the loop, of the cluster, or for a manifest that is missing.
    """
    experiment = params.experiment(name)
    manifest = experiment_manifest(params, name)
    store = open_store(params.storage.url, params.root)
    store.check()
    run = Run(
        experiment=experiment,
        manifest=manifest,
        store=store,
        root=params.root.resolve(),
        start=_start(params, name, store),
    )
    if plain:
        with plain_world(experiment.train) as world, Stopping(minutes) as stopping:
            if world.rank == 0:
                _begin(run, resume, world.device)
            with _monitor(run, params, world) as monitor:
                hooks = Hooks(
                    resumed=monitor.resumed,
                    logged=monitor.logged,
                    validated=monitor.validated,
                    saved=monitor.saved,
                    stopping=stopping,
                )
                train(run, world, hooks)
            if world.rank:
                return
    else:
        _begin(run, resume, torch.device("cuda" if torch.cuda.is_available() and experiment.train.use_gpu else "cpu"))
        with _monitor(run, params, World()) as monitor:
            train_with_ray(run, params, monitor, minutes)
    _keep(run, params)


def _start(params: Params, name: str, store: Store) -> str:
    """Puts the weights that the run starts from into the store, where all its workers find them; their key."""
    config = params.experiment(name).train
    if config.start_from is None:
        return ""
    weights = find(config.start_from, params.path)[0] / WEIGHTS
    tensors = load_file(weights)
    taken = Learner(params.experiment(name), World()).start_from(tensors, config.start_from)
    print(f"{name}: starts from {config.start_from}, {taken} of whose {len(tensors)} tensors fit", flush=True)
    key = f"runs/{name}/start-{file_sha256(weights)[:16]}.safetensors"
    store.put_file(key, weights)
    return key


def _begin(run: Run, resume: bool | None, device: torch.device) -> None:
    """Deals with what earlier runs have left, and says what is not as asked for."""
    name, config = run.experiment.name, run.experiment.train
    _check_folder(run.root / ".scn" / "runs")
    if resume is False:
        run.checkpoints.delete()
    found = run.checkpoints.load()
    for file in run.checkpoints.damaged:
        print(f"{name}: passes over {file}, which is damaged", file=sys.stderr, flush=True)
    if found is None and resume is not False:
        others = run.checkpoints.others()
        other = f" (one of another stopped after step {others[0].step}: {others[0].difference})" if others else ""
        if resume:
            raise UserError(
                f"{name} has no unfinished run of this configuration to go on with{other}: leave --resume out."
            )
        if other:
            print(f"{name}: a new run, as there is no unfinished one of this configuration{other}", flush=True)
    if config.precision == "bfloat16" and "RAY_ADDRESS" not in os.environ and not has_bfloat16(device):
        print(f"{name}: this machine does not compute in bfloat16, float32 takes its place", flush=True)


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
def _monitor(run: Run, params: Params, world: World) -> Iterator[Monitor | Hooks]:
    """What shows the run; on the other ranks nothing does."""
    if world.rank:
        yield Hooks()
        return
    monitor = Monitor(run.experiment.name, run.steps, params.root / "curves" / run.experiment.name)
    try:
        yield monitor
    finally:
        monitor.close()


def _keep(run: Run, params: Params) -> None:
    """Writes models/<experiment>/ from the last checkpoint, or the best one, and deletes the checkpoints."""
    experiment = run.experiment
    name, config = experiment.name, experiment.train
    last = run.checkpoints.load()
    if last is None or last[0] != run.steps:
        raise UserError(f"The last checkpoint of {name} is gone from {run.store.url}: start the training again.")
    step, state = (run.checkpoints.best() or last) if config.take == "best" else last
    about = {
        "experiment": name,
        "task": experiment.task_name,
        "level": experiment.level,
        "train": run.identity()["train"],
        "steps": run.steps,
        "step": step,
        "training_corpora": run.manifest.train.corpora,
        "data_sha256": run.manifest.sha256,
    }
    save_model(params.root / "models" / name, network_of(experiment, state), experiment.architecture(), about)
    run.checkpoints.delete()
    if run.start:
        run.store.delete(run.start)
