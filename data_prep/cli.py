"""The `data-prep` command."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from scn.config import PARAMS_FILE, load_params
from scn.errors import UserError

app = typer.Typer(
    help="Image corpora -> degraded pairs -> WebDataset shards and their manifest.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ParamsOption = Annotated[Path, typer.Option("--params", help="The file of parameters.")]


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="A corpus of params.yaml, or one split of it: NAME/SPLIT.")],
    index: Annotated[Path, typer.Option(help="The JSON file to write.")],
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Check that a corpus is here, and write the index of its images: names, sizes, checksums."""
    from data_prep.corpora import index_of, open_corpus
    from scn.files import write_atomically

    corpus = open_corpus(load_params(params), name)
    write_atomically(index, index_of(corpus).encode())
    others = f", {corpus.ignored} other files ignored" if corpus.ignored else ""
    print(f"{name}: {len(corpus.images)} images{others}; index in {index}")


@app.command()
def shard(
    experiment: Annotated[str, typer.Option(help="An experiment of params.yaml, like sr-x2.")],
    manifest: Annotated[Path, typer.Option(help="The JSON file to write.")],
    images: Annotated[
        str | None, typer.Option(help="Train on this corpus, split or folder instead of data.train.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="file://folder or s3://bucket/prefix, instead of storage.url.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Shards made at once; 0: without Ray.  [default: the number of CPUs]"),
    ] = None,
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Degrade the images of an experiment and put them into the store as shards.

    With RAY_ADDRESS set the cluster's workers do it: folders and a file:// store must be at the same path there.
    """
    from data_prep.images import found_pillow
    from data_prep.shards import make_manifest
    from scn.cluster import cpu_count
    from scn.files import write_atomically

    start = time.monotonic()
    loaded = load_params(params)
    made = make_manifest(
        loaded,
        experiment,
        images=images,
        store_url=store,
        workers=cpu_count() if workers is None else workers,
    )
    write_atomically(manifest, made.dumps().encode())
    sets = (made.train, *made.evaluation.values())
    converted = sum(sum(of_set.converted.values()) for of_set in sets)
    shards = list(made.shards())
    print(
        f"{experiment}: {sum(of_set.images for of_set in sets)} images"
        + (f" ({converted} conversions, see {manifest})" if converted else "")
        + f" in {len(shards)} shards, {sum(s.bytes for s in shards)} bytes, in {store or loaded.storage.url}, "
        f"{time.monotonic() - start:.1f} s, with {found_pillow()}"
    )


def main() -> None:
    """Runs the command; a user's mistake is one sentence on stderr and status 1."""
    try:
        app(prog_name="data-prep")
    except UserError as error:
        print(f"data-prep: {error}", file=sys.stderr)
        sys.exit(1)
