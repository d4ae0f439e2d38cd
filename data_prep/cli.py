"""The `data-prep` command."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from scn.config.data import CorporaConfig, StorageConfig
from scn.config.params import PARAMS_FILE, Params, load_params
from scn.core.errors import UserError
from scn.core.masking import masked
from scn.core.pipeline import pipeline_needed

app = typer.Typer(
    help="Image corpora -> degraded pairs -> WebDataset shards and their manifests.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ExperimentOption = Annotated[
    str, typer.Option("--experiment", "-e", help="Name of an experiment in params.yaml, such as sr-x2.")
]
ParamsOption = Annotated[Path, typer.Option("--params", help="The configuration file.")]
ReadersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that read many files, by default one for each CPU; 0: this one, without Ray.",
    ),
]


@app.command(name="list")
def list_corpora(params: ParamsOption = PARAMS_FILE) -> None:
    """Show every corpus of params.yaml and of the catalogue: images, size, licence, use, and where it is here.

    Without a params.yaml, or with one that is wrong, those of the catalogue.
    """
    from data_prep.check import print_rows

    catalogue = Params(path=params, storage=StorageConfig(), corpora=CorporaConfig(), experiments={})
    if params == PARAMS_FILE and not params.exists():  # in any folder, the catalogue can be looked at
        print_rows(catalogue)
        return
    try:
        loaded = load_params(params)
    except UserError:
        if params.exists():  # it may be a corpus that it names wrongly: here are the names
            print_rows(catalogue)
        raise
    print_rows(loaded)


@app.command()
def download(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Corpora of params.yaml or of the catalogue, or NAME/SPLIT.")
    ],
    index: Annotated[
        Path | None, typer.Option(help="Write the names, sizes and checksums of one corpus's images to this JSON file.")
    ] = None,
    workers: ReadersOption = None,
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Download and unpack corpora that are missing on this machine, and read the headers of their images.

    Corpora are searched in $SCN_CORPORA first, then in corpora.root, where downloads go. A download that was stopped
    is resumed. A file whose size, times and inode are those of when it was last read is not read again. If RAY_ADDRESS
    is set, the cluster reads where there are many files.
    """
    from data_prep.acquire import acquire
    from scn.core.files import check_local, write_atomically
    from scn.corpora.corpora import index_of, licence_of, open_corpus

    if index and len(names) > 1:
        raise UserError("--index takes the index of one corpus: download the others without it.")
    if index:
        check_local("--index", index, "a file")
    loaded = load_params(params)
    for name in names:
        acquire(loaded, name)
        corpus = open_corpus(loaded, name, _workers(workers))
        for image in corpus.images:
            if image.refusal:
                print(f"data-prep: {image.refusal}", file=sys.stderr)
        if index:
            write_atomically(index, index_of(corpus, licence_of(loaded, name)).encode())
        refused = sum(image.refusal is not None for image in corpus.images)
        notes = [f"{refused} of them can't be used"] * bool(refused)
        notes += [f"{corpus.ignored} other files ignored"] * bool(corpus.ignored)
        print(", ".join([f"{name}: {len(corpus.images)} images", *notes]) + (f"; index in {index}" if index else ""))


@app.command()
def look(
    name: Annotated[str, typer.Argument(help="A corpus of corpora.local in params.yaml.")],
    out: Annotated[Path, typer.Option(help="The JSON file for the names, sizes and times of change.")],
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Write which files a corpus of your own has, without opening them: DVC compares it to see whether it changed."""
    from scn.core.files import write_atomically
    from scn.corpora.corpora import listing_of

    write_atomically(out, listing_of(load_params(params), name).encode())


@app.command()
def check(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Corpora of params.yaml or of the catalogue, or NAME/SPLIT.")
    ],
    workers: ReadersOption = None,
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Check corpora on this machine: folders, number of images, headers, and the content if its hash is known.

    It reads every file, names what is missing or wrong, and downloads nothing.
    """
    from data_prep.check import check as look

    loaded = load_params(params)
    wrong = 0
    for name in names:
        for finding in look(loaded, name, _workers(workers)):
            for problem in finding.problems:
                print(f"data-prep: {problem}", file=sys.stderr)
            wrong += len(finding.problems)
            if finding.summary:
                print(f"{finding.title}: {finding.summary}")
    if wrong:
        raise UserError(f"{wrong} {'problem was' if wrong == 1 else 'problems were'} found: see above for what to do.")


@app.command()
def shard(
    experiment: ExperimentOption,
    out: Annotated[Path, typer.Option(help="Folder for the manifests train.json and evaluation.json.")],
    images: Annotated[
        str | None, typer.Option(help="Train on this corpus, split or folder instead of data.train.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="The store, file://folder or s3://bucket/prefix, instead of storage.url.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Number of shards made at once, by default one for each CPU; 0: one, without Ray."),
    ] = None,
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Degrade the images of an experiment and put them into the store as shards.

    Shards that are in the store already are not made again, so a run that was killed goes on. If RAY_ADDRESS is set,
    the cluster's workers make them: folders of images and a file:// store must have the same path there.
    """
    from data_prep.prepare import make_manifests
    from scn.core.files import check_folder
    from scn.shards.manifest import write_manifests
    from scn.storage import open_store

    start = time.monotonic()
    check_folder("--out", out)
    loaded = load_params(params)
    made, reused = make_manifests(
        loaded,
        experiment,
        images=images,
        store_url=store,
        workers=_workers(workers),
    )
    write_manifests(out, made, ordered=loaded.experiment(experiment).train.group_mib is not None)
    sets = made.image_sets
    converted = sum(sum(of_set.converted.values()) for of_set in sets)
    refused = sum(len(of_set.refused) for of_set in sets)
    counts = [f"{converted} conversions"] * bool(converted) + [f"{refused} refused"] * bool(refused)
    shards = list(made.shards())
    print(
        f"{experiment}: {sum(of_set.images for of_set in sets)} images"
        + (f" ({', '.join(counts)}: see {out})" if counts else "")
        + f" as {sum(of_set.samples for of_set in sets)} samples in {len(shards)} shards"
        + (f", of which {reused} were there already" if reused else "")
        + f", {sum(s.bytes for s in shards)} bytes, in {open_store(store or loaded.storage.url, loaded.root).url}, "
        f"{time.monotonic() - start:.1f} s, with {made.train.made_with['pil']}"
    )


@app.command()
def verify(
    manifest: Annotated[Path, typer.Argument(help="A manifest that `data-prep shard` wrote.")],
    store: Annotated[
        str | None, typer.Option(help="The store, file://folder or s3://bucket/prefix, instead of storage.url.")
    ] = None,
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Read and hash every shard of a manifest, and name those that are missing or damaged."""
    from data_prep.verify import problems
    from scn.config.run import RunConfig
    from scn.shards.manifest import image_sets, load_manifest, made_by_stage
    from scn.storage import open_store
    from scn.storage.base import Store
    from scn.storage.patience import reached

    loaded = None if store and not params.exists() else load_params(params)  # with a store, in any folder
    made = load_manifest(manifest, loaded)
    if loaded:
        opened: Store = loaded.open_store(url=store)
    else:
        opened = reached(open_store(str(store)), RunConfig().store_timeout_s)
    stage = made.stage if loaded and not store and made_by_stage(manifest, loaded) else None
    wrong = 0
    for wrong, sentence in enumerate(problems(made, opened, stage), 1):  # noqa: B007 - the count is told below
        print(f"data-prep: {sentence}", file=sys.stderr)
    shards = [shard for images in image_sets(made) for shard in images.shards]
    if wrong:
        raise UserError(
            f"{wrong} of {len(shards)} shards of {manifest} can't be trusted: do what the sentences above say; shards "
            "without damage are kept."
        )
    print(f"{manifest}: {len(shards)} shards, {sum(s.bytes for s in shards)} bytes in {opened.url}, all as made")


@app.command()
def degrade(
    folder: Annotated[Path, typer.Argument(metavar="IN_DIR", help="Folder of images, with or without sub-folders.")],
    output: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for degraded images, outside of IN_DIR.")],
    experiment: ExperimentOption,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; 0 gives the noise of evaluation.")] = 0,
    params: ParamsOption = PARAMS_FILE,
) -> None:
    """Degrade the images of a folder and write them under the same names, as the papers' test sets have them.

    Reduced images and JPEG's luma become .png; noisy ones .tif (float32, 255 is white, unclipped).
    """
    from tqdm import tqdm

    from data_prep.degrade import degrade_folder

    start = time.monotonic()
    asked = load_params(params).experiment(experiment)
    made = degrade_folder(
        asked, folder, output, seed=seed, tell=lambda s: tqdm.write(f"data-prep: {s}", file=sys.stderr)
    )
    converted = [f"{count} {what}" for what, count in sorted(made.converted.items())]
    print(
        f"{experiment}: {made.written} images degraded into {output}"
        + (f" ({', '.join(converted)})" if converted else "")
        + f", {made.refused} left out, {time.monotonic() - start:.1f} s"
    )
    if made.refused:
        raise UserError(f"{made.refused} images of {folder} were left out: see the sentences above, then run it again.")


def _workers(asked: int | None) -> int:
    from scn.core.cpus import cpu_count

    return cpu_count() if asked is None else asked


def main() -> None:
    """Runs the command; a user's mistake is one sentence on stderr and status 1."""
    try:
        with pipeline_needed("data-prep"):
            app(prog_name="data-prep")
    except UserError as error:
        print(masked(f"data-prep: {error}"), file=sys.stderr)
        sys.exit(1)
