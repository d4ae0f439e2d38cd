"""The command `scn study`."""

from pathlib import Path
from typing import Annotated

import typer

from scn.registry.command import PARAMS, ParamsFile


def study(
    name: Annotated[
        str | None, typer.Argument(help="A study that ships, or a YAML file of your own; without it, all are listed.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Minutes that all trainings together take, one after the other; 30 if nothing is said."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training, in place of minutes.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each variant; default: as before or declared.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Size of the networks; default: the first declared.")] = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", "-e", help="Experiment whose images are used; default: the first that fits."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of model or train, before the study's own."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Default: studies/NAME.")] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Compare networks as a paper's table does: train and measure all variants with several seeds, or go on with it."""
    from scn.studies.declaration import describe_studies

    if name is None:
        print(describe_studies())
        return
    from scn.config.params import load_params
    from scn.studies.run import run_study

    found = run_study(
        name,
        load_params(params),
        minutes=minutes,
        steps=steps,
        seeds=seeds,
        size=size,
        experiment=experiment,
        settings=settings or (),
        out=out,
    )
    print(f"The study is in {found / 'README.md'}")
