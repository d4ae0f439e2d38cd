"""The `scn` command line: each command calls one function, which is imported when the command runs."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from scn.core.errors import STOPPED, Stopped, UserError
from scn.core.masking import masked
from scn.core.pipeline import pipeline_needed
from scn.registry.command import PARAMS, ParamsFile, models
from scn.registry.export_command import export
from scn.registry.restore_command import restore
from scn.registry.store_command import store
from scn.serving.command import serve
from scn.studies.command import study

app = typer.Typer(
    name="scn",
    help="Train, measure, publish and use image restoration models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_PIPELINE = "The pipeline"
"""Heading of the commands in the help that photographs can do without."""
for command in (restore, serve, export):
    app.command()(command)
app.add_typer(models)
app.add_typer(store, rich_help_panel=_PIPELINE)


def _show_version(asked: bool) -> None:
    if asked:
        from scn.core.version import project_version

        print(f"scn {project_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself; its help is that of `app`."""


ExperimentName = Annotated[str, typer.Option("--experiment", "-e", help="Name of an experiment in params.yaml.")]


@app.command(rich_help_panel=_PIPELINE)
def train(
    experiment: ExperimentName,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a setting of the experiment: a key of model, train or run, such as "
            "train.batch_size=8, or start_from=FOLDER.",
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Train without Ray: in this process, or torchrun's.")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many minutes, with a checkpoint and status 75.")
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            help="Require an unfinished run to go on with; or delete it and start anew. Default: go on if there is one."
        ),
    ] = None,
    resume_anyway: Annotated[
        bool,
        typer.Option("--resume-anyway", help="Go on with a run made by other code; the model's card will say so."),
    ] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Train an experiment on its shards, into models/EXPERIMENT; a training that was stopped goes on."""
    from scn.config.params import load_params

    if stated := next((each for each in settings or [] if each.startswith("data.")), None):
        raise UserError(
            f"--set {stated} would change nothing: shards/{experiment} is made by then; change {params}, and run "
            f"`data-prep shard --experiment {experiment} --out shards/{experiment}` again."
        )
    configured = load_params(params, settings or [], experiment)
    configured.experiment(experiment)  # before PyTorch is loaded, as nobody should wait for a misspelt name
    from scn.launch.stage import train_stage

    train_stage(configured, experiment, plain=plain, minutes=minutes, resume=resume, resume_anyway=resume_anyway)


@app.command(rich_help_panel=_PIPELINE)
def plan(
    experiment: ExperimentName,
    start: Annotated[bool, typer.Option("--start", help="Write the hash of the start weights only.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Write plans/EXPERIMENT: what decides an experiment's shards, weights and figures, for DVC to compare."""
    from scn.config.params import load_params
    from scn.launch.plan import write_plan, write_start

    loaded = load_params(params)
    for path in [write_start(loaded, experiment)] if start else write_plan(loaded, experiment):
        print(path)


@app.command(rich_help_panel=_PIPELINE)
def evaluate(
    experiment: Annotated[
        list[str], typer.Option("--experiment", "-e", help="Name of an experiment in params.yaml: its task and level.")
    ],
    images: Annotated[
        list[str] | None,
        typer.Option("--images", metavar="DIR|CORPUS", help="Measure on these images instead of the evaluation sets."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", metavar="MODEL|bicubic|input", help="Measure this; MODEL is a reference as --model takes it."
        ),
    ] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Measure every --method on all --images for every --experiment that fits.")
    ] = False,
    inputs: Annotated[
        str | None,
        typer.Option(metavar="DIR|CORPUS", help="Degraded versions of the images, such as published LR files."),
    ] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Average the results of the 8 flips and rotations.")
    ] = False,
    scales: Annotated[
        str | None, typer.Option(metavar="N,...", help="Measure with so many scales instead of those of the training.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(metavar="R,...", help="Measure with this ratio of the scales, such as 0.5,0.667.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option(min=1, help="Restore images of more than N x N pixels in parts, as `restore` does.")
    ] = None,
    perceptual: Annotated[
        bool, typer.Option("--perceptual", help="Measure LPIPS and DISTS, too, where they are installed.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write figures and hashes to this file.")
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write the restored images into this new folder, as PNG.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure models, under the task's protocols.

    With --experiment alone, the stage of the pipeline: the degraded input and models/EXPERIMENT on the evaluation sets,
    into evaluations/EXPERIMENT/model.json. With --images or --method any model on any images, or none, on the screen
    and into the file of --json.
    """
    from scn.config.params import load_params

    loaded = load_params(params)
    given = (images, method, inputs, scales, ratio, tile, json_file, save)
    if not (matrix or self_ensemble or perceptual) and all(each is None or each == [] for each in given):
        from scn.evaluation.runner import evaluate_stage

        for name in experiment:
            print(f"{name}: the figures of input and model are in {evaluate_stage(loaded, name)}")
        return
    from scn.evaluation.asked import Asked, run
    from scn.registry.reference import load

    run(
        loaded,
        Asked(
            experiments=experiment,
            sets=images or [],
            methods=method or [],
            matrix=matrix,
            inputs=inputs,
            self_ensemble=self_ensemble,
            scales=scales,
            ratio=ratio,
            tile=tile,
            perceptual=perceptual,
            json_file=json_file,
            save=save,
        ),
        partial(load, params_file=params),
    )


@app.command(rich_help_panel=_PIPELINE)
def ensemble(experiment: ExperimentName, params: ParamsFile = PARAMS) -> None:
    """Measure the model with self-ensemble, into evaluations/EXPERIMENT/ensemble.json."""
    from scn.config.params import load_params
    from scn.evaluation.runner import ensemble_stage

    print(f"{experiment}: the figures with self-ensemble are in {ensemble_stage(load_params(params), experiment)}")


@app.command(rich_help_panel=_PIPELINE)
def publish(experiment: ExperimentName, params: ParamsFile = PARAMS) -> None:
    """Publish the model as a new version in the registry, if anything changed."""
    from scn.config.params import load_params
    from scn.registry.publish import publish as publish_version

    receipt = publish_version(load_params(params), experiment)
    print(f"{experiment}: the newest version is {receipt.version}, in {receipt.url}")


@app.command(rich_help_panel=_PIPELINE)
def report(
    out: Annotated[Path | None, typer.Option(help="Write the tables to this Markdown file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write tables, plots, pictures to this HTML file.")] = None,
    metrics: Annotated[Path | None, typer.Option(help="Write figures to this folder, for `dvc metrics`.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Write curves to this folder, for `dvc plots`.")] = None,
    table: Annotated[
        list[Path] | None, typer.Option(help="Write the table of the models that ship into this Markdown file.")
    ] = None,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Time no network for --html, which takes up to a minute.")
    ] = False,
    shipped: Annotated[bool, typer.Option("--shipped", help="Show the models that ship, too.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Show the figures of all experiments that have been measured beside published ones, or write them to files."""
    from scn import zoo
    from scn.config.params import load_params
    from scn.core.cpus import machine
    from scn.evaluation.for_dvc import check_folders, write_metrics, write_plots
    from scn.evaluation.page.page import write_page
    from scn.evaluation.report import print_report, report_stage, write_shipped_table
    from scn.evaluation.runs import read_shipped

    loaded = load_params(params)
    check_folders(loaded, metrics, plots)
    ship = [read_shipped(zoo.FOLDER / name) for name in zoo.names()] if shipped or table else []
    models = ship if shipped else []
    for path in table or []:
        write_shipped_table(path, ship)
    if out:
        report_stage(loaded, out, models)
    if html:
        write_page(loaded, html, timed=not no_timing, machine=machine(), shipped=models)
    if metrics:
        write_metrics(loaded, metrics)
    if plots:
        write_plots(loaded, plots)
    written = [str(path) for path in (out, html, metrics, plots, *(table or [])) if path]
    if written:
        print(f"The report is in {', '.join(written)}")
    else:
        print_report(loaded, models)


@app.command(rich_help_panel=_PIPELINE)
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only shown.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Show what nobody needs in the store, or delete it: versions, old checkpoints, and shards that no manifest names.

    Whole versions are deleted at once; half ones, checkpoints, shards and what Ray Train has left when they have been
    found unneeded for `collect.after_days` days (params.yaml); so are checkpoints on this machine of runs of which the
    store has no more.
    """
    from scn.config.params import load_params
    from scn.launch.collect import delete_old, find_old
    from scn.registry.collect import check_folder, unneeded
    from scn.registry.collect import delete as delete_versions

    loaded = load_params(params)
    if delete:
        check_folder(loaded.root)
    versions, old = unneeded(loaded), find_old(loaded)
    for version in versions:
        print(version.told(loaded.collect.after_days))
    for each in old:
        when = "" if each.deletable else f", found so for {each.days} of {loaded.collect.after_days} days"
        print(f"{each.name}: {each.why}{when}")
    going = delete_versions(loaded, versions) if delete else [version for version in versions if version.deletable]
    count = sum(len(version.keys) for version in going)
    count += delete_old(loaded, old) if delete else sum(len(each.keys) for each in old if each.deletable)
    print(f"{count} objects {'deleted' if delete else 'would be deleted by --delete'}", file=sys.stderr)


@app.command(rich_help_panel=_PIPELINE)
def preset(
    name: Annotated[str | None, typer.Argument(help="Name of a preset; without it, all are listed.")] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Write a preset into params.yaml and keep everything else in it; or list the presets, with source and cost."""
    from scn.config.presets import apply_preset, describe_presets

    if name is None:
        print(describe_presets())
    else:
        apply_preset(name, params)


@app.command(rich_help_panel=_PIPELINE)
def networks(
    name: Annotated[str | None, typer.Argument(help="Name of a network, to see its parameters explained.")] = None,
) -> None:
    """List the networks that `model.name` may ask for, and their parameters."""
    from scn.config.describe import describe

    print(describe(name))


@app.command(rich_help_panel=_PIPELINE)
def profile(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="More settings, like those of --set.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Name of a network: see `scn networks`.")] = "scn",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the network, `channels` or `scale`."),
    ] = None,
    input: Annotated[str, typer.Option(metavar="HEIGHTxWIDTH", help="Size of the image in pixels.")] = "128x128",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Count a network's parameters, multiply-adds, receptive field and memory."""
    from scn.config.describe import architecture, profile_text, size

    described, (height, width) = architecture(model, [*(settings or []), *(more or [])]), size(input)
    from scn.networks.profile import profile as measure

    figures = asdict(measure(described, height, width))
    result = {"model": model, "architecture": described, "input": [height, width], **figures}
    print(json.dumps(result, indent=1) if as_json else profile_text(result))


app.command(rich_help_panel=_PIPELINE)(study)


def main() -> None:
    """Runs the `scn` command; a user's mistake ends with one sentence and status 1, a stopped run with status 75."""
    try:
        with pipeline_needed("scn"):
            app()
    except Stopped as stopped:
        print(masked(str(stopped)), file=sys.stderr)
        sys.exit(STOPPED)
    except UserError as error:
        print(masked(f"scn: {error}"), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
