"""The command `scn restore`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from scn.core.errors import UserError
from scn.registry.command import PARAMS, ParamsFile

if TYPE_CHECKING:
    from scn.inference.batch import Outcome
    from scn.inference.inputs import Plan

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
_NAMED = 8  # so many files are named in the last line


def restore(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="IN... OUT",
            help="Photographs, folders of them, patterns, or - for a pipe; the last one is the file or folder for the "
            "results, or -.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="EXPERIMENT, EXPERIMENT@vN, or a model folder (see `scn models list`); up to 8 with commas are "
            "applied one after the other; `auto` takes what fits each photograph. May be left out with --scale.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Enlarge by this factor, 1.5 to 16: by the models, else the nearest network, then bicubic."),
    ] = None,
    strength: Annotated[
        float, typer.Option(metavar="0..1", help="Mix input and result: 0 is the input, 1 the result.")
    ] = 1,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take folders in folders, too.")] = False,
    as_format: Annotated[
        str | None, typer.Option("--format", help="Format of the results: png (default for folders), jpg, webp, ...")
    ] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of lossy formats; JPEG: 95 by default.")] = None,
    suffix: Annotated[str, typer.Option(help="Put this behind the names of results in a folder.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT, or what is in the folder OUT.")] = False,
    copy_clean: Annotated[
        bool,
        typer.Option("--copy-clean", help="With `auto` alone: put photographs with nothing to restore into OUT, too."),
    ] = False,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Average the results of the 8 flips and rotations: 8 times slower.")
    ] = False,
    chroma: Annotated[
        str,
        typer.Option(metavar="restore|keep", help="keep: a grey network restores luma only, in a third of the time."),
    ] = "restore",
    tile: Annotated[
        str, typer.Option(metavar="N|auto", help="Restore images of more than N x N pixels in parts; auto: by memory.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|float32|bfloat16", help="auto: bfloat16 where it is fast and 8 bits come out.")
    ] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; default: a GPU if there is one.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compute; default: one a core.")] = None,
    on_ray: Annotated[
        bool, typer.Option("--ray", help="Images of a store (s3://BUCKET/IN s3://BUCKET/OUT): on a Ray cluster.")
    ] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Restore photographs with models that are published or ship; images that can't be restored stop no others."""
    from scn.imaging.formats import named
    from scn.inference.inputs import PIPE, Plan, plan

    if len(paths) < 2:
        raise UserError("Name a photograph or a folder, and where the result is to go: scn restore IN OUT.")
    if not model and scale is None:
        raise UserError("Name a model with --model (`scn models list` lists them), or a factor with --scale.")
    _one_of("--chroma", chroma, ("restore", "keep"))
    _one_of("--precision", precision, ("auto", "float32", "bfloat16"))
    if not 0 <= strength <= 1:  # nor is nan, of which an option's own limits say something else
        raise UserError(f"--strength: {strength:g} is out of range: give 0 to 1.")
    side = _side(tile)
    if web := next((path for path in paths if path.startswith(("http://", "https://"))), None):
        raise UserError(f"{web} is an address, and nothing is fetched from the web: download it first.")
    between_stores = any("://" in path for path in paths)
    if between_stores and (len(paths) != 2 or not all("://" in path for path in paths) or overwrite):
        raise UserError("Of stores name two, s3://BUCKET/IN and s3://BUCKET/OUT, and nothing is overwritten there.")
    if copy_clean and (between_stores or model != "auto" or scale is not None):
        raise UserError("--copy-clean is for --model auto alone, and for files and folders: leave it out.")
    if on_ray and not between_stores:
        raise UserError("--ray restores the images of a store: name s3://BUCKET/IN and s3://BUCKET/OUT.")
    if on_ray and (device or threads):
        raise UserError("--device and --threads are for this machine, and Ray knows the cluster's: leave them out.")
    todo = (
        Plan()
        if between_stores
        else plan(  # a mistake there is told before a model is fetched
            paths[:-1], paths[-1], recursive=recursive, as_format=as_format, suffix=suffix, overwrite=overwrite
        )
    )
    formats = [named(as_format or "png")] if between_stores else [job.as_format for job in todo.jobs]
    if quality and formats and not any(each.has_quality for each in formats):
        raise UserError(
            f"--quality is for lossy formats, and {formats[0].name} loses nothing: leave it out, or take another one."
        )
    import torch
    from tqdm import tqdm

    from scn.inference.batch import NothingToRestore, restore_all
    from scn.inference.chain import check_factor
    from scn.inference.restore import Options
    from scn.registry.several import Models

    factor = check_factor(scale, "--scale") if scale is not None else None
    if threads:
        torch.set_num_threads(threads)
    models = Models(device, params)
    models.check(model or "")
    reference = models.wanted(model or "", scale)
    options = Options(
        tile=side,
        self_ensemble=self_ensemble,
        precision=None if precision == "auto" else precision,  # type: ignore[arg-type]  # checked above
        chroma=chroma,  # type: ignore[arg-type]
        strength=strength,
    )

    if between_stores:
        from scn.registry.restore_stores import restore_stores

        kind = (as_format or "png", suffix, quality)
        restored = restore_stores(paths[0], paths[1], models, reference, options, kind, factor, on_ray=on_ray)
        print(restored.sentence)
        if restored.stopped or restored.failed or restored.away or restored.unlisted:
            raise typer.Exit(INTERRUPTED if restored.stopped else 1)
        return

    def work(photograph, name, done):  # type: ignore[no-untyped-def]  # scn.inference.batch.Restore
        def told(found: str) -> None:
            tqdm.write(f"{name}: {found}", file=sys.stderr)

        try:
            return models.restore(reference, photograph, options, factor=factor, name=name, done=done, told=told)[0]
        except NothingToRestore as nothing:
            if paths[-1] != PIPE and not copy_clean:
                raise
            told(f"{nothing}; it comes out as it came")  # what reads a pipe waits for an image
            return photograph

    outcome = restore_all(todo.jobs, work, quality)
    last = _last_line(outcome, todo, models.names(reference), paths[-1])
    print(last, file=sys.stderr if paths[-1] == "-" else sys.stdout)
    if outcome.stopped or outcome.failed:
        raise typer.Exit(INTERRUPTED if outcome.stopped else 1)


def _last_line(outcome: "Outcome", todo: "Plan", by: str, target: str) -> str:
    count = len(outcome.restored)
    parts = [f"{count} image{'s' if count != 1 else ''} restored by {by}, in {'the pipe' if target == '-' else target}"]
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} not: {_some([name for name, _ in outcome.failed])}")
    if outcome.copied:
        parts.append(
            f"{outcome.copied} with nothing to restore put there as {'it' if outcome.copied == 1 else 'they'} came"
        )
    if outcome.nothing:
        parts.append(f"nothing to restore in {_some(outcome.nothing)}")
    if todo.already:
        parts.append(f"{len(todo.already)} already there (--overwrite restores them again)")
    if todo.left_out:
        parts.append(f"left out: {_some(todo.left_out)}")
    if outcome.left:
        parts.append(f"{outcome.left} left to do")
    if outcome.stopped:
        parts.append("stopped; the same command goes on")
    elif outcome.full:
        parts.append("stopped, as there is no room; the same command goes on when there is")
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _side(tile: str) -> int | None:
    from scn.imaging.tiles import STEP

    if tile == "auto":
        return None
    if not tile.isdecimal() or int(tile) <= 2 * STEP:
        raise UserError(f"--tile: '{tile}' is no side of a tile: give auto, or more than {2 * STEP} pixels.")
    return int(tile)


def _one_of(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UserError(f"{option}: '{value}' is none of {', '.join(allowed)}: use one of them.")
