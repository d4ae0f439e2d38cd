"""The stage train@E: from a shard manifest to models/<experiment>/ and its curves."""

import os

import torch

from scn.config import Params
from scn.errors import UserError
from scn.manifest import experiment_manifest
from scn.models import build
from scn.models.files import save_model
from scn.precision import has_bfloat16
from scn.storage import open_store
from scn.training.loop import Hooks, Run, train
from scn.training.monitor import Monitor
from scn.training.ray_train import train_with_ray
from scn.training.world import plain_world


def train_stage(params: Params, name: str, *, plain: bool = False) -> None:
    """Trains the experiment `name` from shards/<name>/manifest.json.

    Writes models/<name>/ (model.safetensors, config.json) when training is complete and curves/<name>/ on the way.
    A run that was killed goes on from its newest checkpoint.

    Args:
        plain: the loop in this process, without Ray Train.
    """
    experiment = params.experiment(name)
    manifest = experiment_manifest(params, name)
    store = open_store(params.storage.url, params.root)
    store.check()
    here = torch.device("cuda" if torch.cuda.is_available() and experiment.train.use_gpu else "cpu")
    if experiment.train.precision == "bfloat16" and "RAY_ADDRESS" not in os.environ and not has_bfloat16(here):
        print(f"{name}: this machine does not compute in bfloat16, float32 takes its place")
    run = Run(experiment=experiment, manifest=manifest, store=store)
    monitor = Monitor(run, params.root / "curves" / name)
    try:
        if plain:
            train(run, plain_world(experiment.train), Hooks(resumed=monitor.resumed, logged=monitor.logged))
        else:
            train_with_ray(run, params, monitor)
    finally:
        monitor.close()

    found = run.checkpoints.load(run.identity())
    if found is None or found[0] != run.steps:
        raise UserError(f"The last checkpoint of {name} is gone from {store.url}: start the training again.")
    network = build(experiment.architecture())
    network.load_state_dict(found[1]["network"])
    about = {
        "experiment": name,
        "task": experiment.task_name,
        "level": experiment.level,
        "train": experiment.train.identity(),
        "steps": run.steps,
        "training_corpora": manifest.train.corpora,
        "data_sha256": manifest.sha256,
    }
    save_model(params.root / "models" / name, network, experiment.architecture(), about)
    run.checkpoints.delete()
