"""The commands `scn store ...`."""

from typing import Annotated

import typer

from scn.registry.command import PARAMS, ParamsFile

store = typer.Typer(name="store", help="Look at the store of shards, checkpoints and versions.", no_args_is_help=True)


@store.callback()
def options() -> None:
    """Makes a group of one command."""


@store.command()
def check(
    url: Annotated[
        str | None, typer.Argument(help="file://folder or s3://bucket/prefix; default: storage.url of params.yaml.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Try what the store keeps, and print what that means; status 1 if several publishers would not be safe there."""
    from scn.config.params import load_params
    from scn.storage import open_store
    from scn.storage.examine import examine

    opened = open_store(url) if url else load_params(params).open_store()
    rows = []
    for row in examine(opened):
        print(f"{row.what:34} {row.found:36} {row.meaning}", flush=True)
        rows.append(row)
    lost = [row.what for row in rows if row.found == "NOT kept" and "promise 5" in row.meaning]
    why = opened.lacks() or ", ".join(lost)
    if not why:
        print(f"{opened.url} keeps promise 5: a version is published whole or not at all, and pointers never jump.")
        return
    print(f"{opened.url} does not keep promise 5 ({why}): publish with storage.single_writer or not at all.")
    raise typer.Exit(1)
