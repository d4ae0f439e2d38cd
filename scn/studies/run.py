"""Runs a study: works out its number of steps, trains and measures what is missing, and writes its result."""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from scn.config.params import Params, load_params
from scn.core.cpus import machine
from scn.core.errors import Stopped, UserError
from scn.core.files import locked, write_atomically
from scn.core.hashing import file_sha256
from scn.core.nodes import common, refusal
from scn.core.ray import start_ray
from scn.evaluation.runs import read_record
from scn.inference.model_config import CONFIG, WEIGHTS
from scn.inference.model_files import load_model
from scn.inference.records import Figures
from scn.launch.stage import train_stage
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.studies.budget import steps_within, time_training
from scn.studies.declaration import Study, load_study, parse_settings
from scn.studies.folder import Folder, check_plan, open_folder
from scn.studies.measure import key_of, measure, precision_of, sweep
from scn.studies.page import write_page
from scn.studies.records import Measured, Plan, Row, Timing
from scn.studies.result import collect
from scn.training.identity import identity

MINUTES = 30.0
"""Minutes of a study that was not told any."""
PLAN, LOCK = "plan.json", ".scn-lock"
R = TypeVar("R", Row, Timing)


def run_study(
    name: str,
    params: Params,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    size: str | None = None,
    experiment: str | None = None,
    settings: Sequence[str] = (),
    out: Path | None = None,
) -> Path:
    """Runs a study, or goes on with one, and returns the folder with result.json, README.md and plot.svg.

    What is finished there is not made again. With RAY_ADDRESS set, trainings are tasks of that cluster.

    Args:
        name: a study that ships, or the path of a YAML file.
        params: the project whose images are used.
        minutes: that all trainings together take, one after the other; None: as the folder's study was begun, or 30.
        steps: number of steps, in place of minutes.
        seeds: number of trainings of each variant; None: as many as before, or as the study says. More are added.
        size: of the networks; None: as the folder's study was begun, or the study's first one.
        experiment: whose shards are used; None: as before, or the first one of the study's task and level.
        settings: KEY=VALUE of model or train, which go before the study's own; none: as before.
        out: None: the project's folder studies/NAME.
    Raises:
        Stopped: by SIGTERM or SIGINT while a network was trained; the same call goes on from there.
        UserError: for a mistake in the study or the arguments, missing shards, or a folder that holds another study.
    """
    study = load_study(name)
    path = out or params.root / "studies" / study.name
    if minutes is not None and steps is not None:
        raise UserError("--minutes and --steps both say how long to train: give one of them.")
    if minutes is not None and not 0 < minutes < math.inf:  # NaN is in no order
        raise UserError(f"--minutes: {minutes:g} is no time to train: give a number above 0.")
    told = f"{study.name}: waits for another process that runs the study in {path}"
    with locked(path / LOCK, lambda: print(told, flush=True)):
        plan = read_record(Plan, path / PLAN, f"remove {path}, or name another folder with --out")
        if plan:
            if plan.settings and not settings:
                print(f"{study.name}: goes on with --set {' --set '.join(plan.settings)}, as it was begun", flush=True)
            size, experiment, settings = size or plan.size, experiment or plan.experiment, settings or plan.settings
        seeds = seeds or (plan and plan.seeds) or study.seeds
        folder = open_folder(study, params, path, study.check_size(size), parse_settings(settings), experiment)
        if plan is None:
            plan = _planned(folder, settings, MINUTES if minutes is None and steps is None else minutes, steps, seeds)
        check_plan(plan, folder, minutes, steps)
        if seeds > (plan.seeds or 0):
            plan = plan.model_copy(update={"seeds": seeds})
            write_atomically(folder.path / PLAN, plan.dumps())
        mine = folder.write_params(seeds, plan.steps)
        trainings = [(variant, seed) for variant in study.variants for seed in range(seeds)]
        print(f"{study.name}: {len(trainings)} trainings of {plan.steps} steps, measured on {', '.join(folder.sets)}")
        jobs = [(study, mine.path, variant, seed, folder.sets) for variant, seed in trainings]
        rows = list(_each(train_and_measure, jobs))
        result = collect(folder, plan, mine, rows, _input(folder, mine))
        write_atomically(path / "result.json", result.dumps())
        write_page(result, path)
        if result.provenance.unlike:
            print(f"{study.name}: {result.provenance.unlike}", flush=True)
        return path


def train_and_measure(study: Study, params_file: Path, variant: str, seed: int, sets: Sequence[str]) -> Row:
    """Trains a variant with a seed and measures it, unless the folder of `params_file` has both; returns its row.

    Raises:
        Stopped, UserError: as scn.launch.stage.train_stage.
    """
    params = load_params(params_file)
    name = f"{study.name}-{variant}-{seed}"
    experiment, manifest = params.experiment(name), evaluation_manifest(params, name)
    model = params.root / "models" / name
    wanted = json.loads(json.dumps(identity(experiment, training_manifest(params, name), None, None)))
    if not _trained(model, wanted):
        train_stage(params, name, plain=True)
    values: list[float] = []
    if study.sweep:
        values = sorted({*study.sweep.values, experiment.model.model_dump()[study.sweep.key]})
    measured = key_of(experiment, manifest, sets, study.protocol, study.sweep and study.sweep.key, values)
    path = params.root / "rows" / f"{variant}-{seed}.json"
    row = read_record(Row, path, "remove it")
    weights = file_sha256(model / WEIGHTS)
    if row is None or (row.weights_sha256, row.measured) != (weights, measured):
        network, config = load_model(model)
        figures = partial(
            measure,
            experiment=experiment,
            manifest=manifest,
            store=params.open_store(experiment.name),
            sets=sets,
        )
        further = figures(network)
        row = Row(
            variant=variant,
            seed=seed,
            steps=config["steps"],
            sets=shown(further, study, sets),
            further={rule: found for rule, found in further.items() if rule != study.protocol},
            sweep=sweep(network, study.sweep.key, values, lambda changed: shown(figures(changed), study, sets))
            if study.sweep
            else [],
            seconds=config["seconds"],
            weights_sha256=weights,
            training_code_sha256=config["identity"]["code_sha256"],
            measured=measured,
            precision=precision_of(network, experiment),
            trained_in=_trained_in(config),
            machine=config["machine"],
            commit=config["commit"],
        )
        write_atomically(path, row.dumps())
    told = ", ".join(f"{set_name} {each.psnr:.2f} dB" for set_name, each in row.sets.items())
    print(f"{name}: {told}", flush=True)
    return row


def shown(figures: Mapping[str, Mapping[str, Figures]], study: Study, sets: Sequence[str]) -> Mapping[str, Figures]:
    """The figures under the study's protocol; raises UserError for a set that it can't measure."""
    found = figures.get(study.protocol, {})
    for name in sets:
        if name not in found:
            raise UserError(
                f"{name}: an image is too small for {study.protocol}, by which {study.name} measures: take it out of "
                "the evaluation set."
            )
    return found


def _trained_in(config: Mapping[str, Any]) -> str:
    """The kinds of devices and the precisions of a training, without threads, on which rounding alone depends."""
    devices = (made["versions"]["device"] for made in config["made_by"])
    return "; ".join(dict.fromkeys(re.sub(r", \d+ threads?(, compiled)?$", "", device) for device in devices))


def _trained(model: Path, wanted: Mapping[str, Any]) -> bool:
    """True if a folder holds the model that a training with the identity `wanted` ends with."""
    try:
        found = json.loads((model / CONFIG).read_bytes())["identity"]
    except (OSError, ValueError, KeyError):
        return False
    if found != wanted:
        print(f"{model.name}: is trained again, as its recipe, images or code are others than when it was", flush=True)
    return bool(found == wanted) and (model / WEIGHTS).is_file()


def _planned(folder: Folder, settings: Sequence[str], minutes: float | None, steps: int | None, seeds: int) -> Plan:
    """Works out the number of steps and writes plan.json."""
    timings: dict[str, Timing] = {}
    if steps is None:
        assert minutes is not None
        trial = folder.write_params(1, 1)
        names = {variant: folder.experiment_name(variant, 0) for variant in folder.study.variants}
        print(f"{folder.study.name}: times a few steps of {len(names)} variants", flush=True)
        timings = dict(zip(names, _each(time_training, [(trial, name) for name in names.values()]), strict=True))
        shares = {variant: about.share for variant, about in folder.study.variants.items()}
        steps = steps_within(minutes, timings, shares, seeds)
    plan = Plan(
        study=folder.study.name,
        size=folder.size,
        experiment=folder.base.name,
        settings=list(settings),
        sha256=folder.sha256,
        steps=steps,
        seeds=seeds,
        minutes=minutes,
        timings=timings,
        machine=machine(),
    )
    write_atomically(folder.path / PLAN, plan.dumps())
    return plan


def _input(folder: Folder, params: Params) -> Measured:
    """The figures of the degraded images, measured unless they were."""
    name = next(iter(params.experiments))
    experiment, manifest = params.experiment(name), evaluation_manifest(params, name)
    path, measured = (
        folder.path / "rows" / "input.json",
        key_of(experiment, manifest, folder.sets, folder.study.protocol),
    )
    found = read_record(Measured, path, "remove it")
    if found is None or found.measured != measured:
        store = params.open_store(experiment.name)
        figures = measure(None, experiment, manifest, store, folder.sets)
        found = Measured(sets=shown(figures, folder.study, folder.sets), measured=measured)
        write_atomically(path, found.dumps())
    return found


def _each(function: Callable[..., R], calls: Iterable[tuple[Any, ...]]) -> Iterator[R]:
    """The results of the calls, in order; with RAY_ADDRESS set, each call is a task of the cluster."""
    if not os.environ.get("RAY_ADDRESS"):
        for call in calls:
            yield function(*call)
        return
    import ray

    start_ray()
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    task: Any = ray.remote(num_gpus=gpus)(_outcome)
    started = [task.remote(common(), function, call) for call in calls]
    for reference in started:
        outcome = ray.get(reference)
        if isinstance(outcome, Exception):
            for other in started:
                ray.cancel(other)
            raise outcome
        yield outcome


def _outcome(needed: dict[str, str], function: Callable[..., R], call: tuple[Any, ...]) -> R | UserError | Stopped:
    """The result of a call, or a mistake that it met: Ray would show every task's as a traceback.

    Args:
        needed: what the node must have (scn.core.nodes.common).
    """
    if refused := refusal(needed):
        return refused
    try:
        return function(*call)
    except (UserError, Stopped) as error:
        return error
