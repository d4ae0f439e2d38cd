"""What there is to know of published versions: figures, files, names and histories; and whether they are whole."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scn import zoo
from scn.config.params import Params, load_params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.evaluation.report import markdown_table
from scn.inference.model_config import CONFIG, METRICS
from scn.inference.records import Metrics
from scn.registry.figures import further_figures, row
from scn.registry.manifest import MANIFEST, read_manifest, sha256
from scn.registry.publish import metrics_of, published, version_folder
from scn.registry.reference import find, parse, resolve
from scn.registry.rule import differences, objection
from scn.registry.signing import check_signature
from scn.registry.trust import pointers
from scn.storage.base import ObjectNotFound, Store, StoreError


def about(params_file: Path | str, reference: str) -> dict[str, Any]:
    """Returns what there is to know of a version, published, shipped or in a folder, as a value for JSON.

    Raises:
        UserError: if there is none.
    """
    folder, version = find(reference, params_file)
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{reference} is no version but a folder: read its {CONFIG}, or `scn publish` it.")
    manifest = (folder / MANIFEST).read_bytes()
    metrics = Metrics.loads((folder / METRICS).read_bytes(), folder / METRICS, "fetch the model again")
    found: dict[str, Any] = {
        "model": reference,
        "url": str(folder),
        "place": "ships" if folder.resolve().parent == zoo.FOLDER.resolve() else "folder",
        "manifest_sha256": sha256(manifest),
        "files": read_manifest(manifest, f"{folder}/{MANIFEST}"),
        "figures": {name: figures.model_dump(exclude_none=True) for name, figures in metrics.sets.items()},
        "provenance": metrics.provenance.model_dump(exclude_none=True),
        "measured_since": [],
        "names": {},
        "points_here": [],
    }
    return found | (_published(load_params(params_file), reference) if version else {})


def _published(params: Params, reference: str) -> dict[str, Any]:
    """What else there is to know of a version in the store."""
    store = params.open_store()
    experiment, version = parse(reference, store, params)
    named = pointers(store, experiment, params)
    return {
        "model": f"{experiment}@{version}",
        "url": f"{store.url}/{version_folder(experiment, int(version[1:]))}",
        "place": "published",
        "measured_since": [row(each) for each in further_figures(params, store, experiment, version)],
        "names": {
            name: pointer.model_dump(include={"held", "history"})
            for name, pointer in named.items()
            if version in (pointer.version, *(move.version for move in pointer.history))
        },
        "points_here": [name for name, pointer in named.items() if pointer.version == version],
    }


def text(found: dict[str, Any]) -> str:
    """Returns what `about` found, for people."""
    figures = [
        (name, *(f"{each[kind]['psnr']:.2f} / {each[kind]['ssim']:.4f}" for kind in ("input", "model", "ensemble")))
        for name, each in found["figures"].items()
    ]
    files = (f"{name} ({file['bytes']} bytes)" for name, file in found["files"].items())
    names = f"names: {', '.join(found['points_here']) or 'none points here'}"
    lines = [
        f"{found['model']}, in {found['url']}",
        f"manifest: SHA-256 {found['manifest_sha256']}",
        f"files: {', '.join(files)}",
        f"protocol: {found['provenance']['protocol']}, {found['provenance'].get('precision', 'precision not known')}",
        *{"published": [names], "ships": ["it ships"], "folder": []}[found["place"]],
        "",
        markdown_table(("evaluation set", "input", "model", "self-ensemble"), figures),
    ]
    if since := found["measured_since"]:
        lines += ["", "measured since:", markdown_table(tuple(since[0]), [tuple(each.values()) for each in since])]
    moves = [
        (name, move["version"], move["at"], move["by"], move["why"])
        for name, pointer in found["names"].items()
        for move in pointer["history"]
    ]
    if moves:
        lines += ["", markdown_table(("name", "pointed to", "from", "by", "why"), moves)]
    held = [f"{name} is held there: {pointer['held']}" for name, pointer in found["names"].items() if pointer["held"]]
    return "\n".join([*lines, *held])


def compared(params: Params, present: str, candidate: str) -> str:
    """Returns the differences of two published versions, and whether the second may take the first's place as words."""
    store = params.open_store()
    (one, first), (two, second) = parse(present, store, params), parse(candidate, store, params)
    trusted = params.registry.trusted
    figures, others = metrics_of(store, one, first, trusted), metrics_of(store, two, second, trusted)
    rows = [
        (each.set_name, f"{each.present:.2f}", f"{each.candidate:.2f}", f"{each.gain:+.2f}")
        for each in differences(figures, others)
    ]
    table = markdown_table(("evaluation set", f"{one}@{first}", f"{two}@{second}", "gain in dB"), rows)
    against = objection(figures, others, params.registry.latest_may_lose)
    verdict = f"may not take the place of {one}@{first}, as {against}" if against else "may take its place as latest"
    return "\n".join([*([table, ""] if rows else []), f"{two}@{second} {verdict}."])


def pull(params: Params, reference: str, out: Path) -> list[Path]:
    """Copies the files of a published version into the new folder `out`, verified; returns their paths.

    Raises:
        UserError: if there is no such version, a file is damaged, `out` is there already, or it can't be made.
    """
    if out.exists():
        raise UserError(f"{out} is there already: name a new folder.")
    folder, _ = resolve(reference, params)
    new = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    try:
        for name in names:
            write_atomically(new / name, (folder / name).read_bytes())
        new.rename(out)
    except OSError as error:
        raise UserError(f"{out} can't be made ({error.strerror}): name a new folder.") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [out / name for name in names]


def verified(params: Params, references: Sequence[str]) -> Iterator[tuple[str, UserError | None]]:
    """Hashes the files of versions in the store; yields `EXPERIMENT@vN` and what is wrong with it (None if nothing).

    With trusted keys what is not signed by one of them is wrong, too. Of a NewerFormat nothing but the signature can be
    checked.

    Args:
        references: published versions; empty: all.
    Raises:
        UserError: if there is no such version, or the store can't be read.
    """
    store = params.open_store()
    every = ((name, f"v{number}") for name, numbers in published(store).items() for number in numbers)
    for experiment, version in (parse(each, store, params) for each in references) if references else every:
        yield f"{experiment}@{version}", _problem(store, experiment, version, params.registry.trusted)


def _problem(store: Store, experiment: str, version: str, trusted: Sequence[str]) -> UserError | None:
    folder = version_folder(experiment, int(version[1:]))
    name = MANIFEST
    try:
        manifest = store.get(f"{folder}/{name}")
        check_signature(store, experiment, version, manifest, trusted)  # all may be replaced, and fit together
        files = read_manifest(manifest, f"{folder}/{name}")
        for name, expected in files.items():
            if sha256(store.get(f"{folder}/{name}")) != expected["sha256"]:
                return UserError(f"{name} is damaged (its SHA-256 is not the manifest's)")
    except ObjectNotFound:
        return UserError(f"{name} is missing")
    except StoreError:  # it says nothing of the version
        raise
    except UserError as error:
        return error
    return None
