"""Finds what nobody needs of the registry: half versions, and old ones that nothing names."""

import hashlib
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.inference.records import Receipt
from scn.registry.pointers import LATEST, aliases, read
from scn.registry.publish import receipt_of, version_folder
from scn.registry.versions import MANIFEST
from scn.storage.base import Store


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """A version that may be deleted."""

    experiment: str
    version: str
    why: str
    """Why nobody needs it."""
    keys: list[str]
    """Keys of its files in the store, in the order in which they are deleted."""


def unneeded(params: Params) -> list[Unneeded]:
    """Returns the versions that may be deleted, by experiment and number.

    Kept are the newest `registry.keep` of each experiment, always the one with the highest number, and all that a
    pointer, its history's last move but one (which a rollback needs), a receipt in published/, a dvc.lock (of any
    branch) or a model card or configuration of another version names.

    Raises:
        UserError: if the store can't be read, or a pointer is damaged.
    """
    store = params.open_store()
    files = defaultdict[tuple[str, int], list[str]](list)
    keys = store.list("registry/")
    for key in keys:
        if found := re.fullmatch(r"registry/([^/]+)/v([1-9]\d*)/[^/]+", key):
            files[found[1], int(found[2])].append(key)
    whole = {version for version, held in files.items() if _has_manifest(held)}
    locked, named = _locked(params.root), _named(store, params.root, files, whole)
    result = []
    for experiment in sorted({experiment for experiment, _ in files}):
        numbers = sorted(number for each, number in files if each == experiment)
        newest = [number for number in numbers if (experiment, number) in whole][-params.registry.keep :]
        pointed = _pointed(store, keys, experiment)
        for number in numbers:
            version, held = f"v{number}", files[experiment, number]
            manifests_first = sorted(held, key=lambda key: not key.endswith(f"/{MANIFEST}"))
            if (experiment, number) not in whole:
                if number < max(newest, default=0):  # a higher one may be that of a publisher at work
                    why = "it was never published whole"
                    result.append(Unneeded(experiment=experiment, version=version, why=why, keys=manifests_first))
                continue
            if number in newest or version in pointed or f"{experiment}@{version}" in named:
                continue
            manifest = store.get(f"{version_folder(experiment, number)}/{MANIFEST}")
            receipt = receipt_of(params, experiment, number, manifest).dumps()
            if hashlib.md5(receipt, usedforsecurity=False).hexdigest() in locked:
                continue
            why = f"older than the newest {params.registry.keep}, and nothing names it"
            result.append(Unneeded(experiment=experiment, version=version, why=why, keys=manifests_first))
    return result


def check_folder(root: Path) -> None:
    """Raises UserError for a folder that can't tell what is needed, as it has no git, dvc.lock or receipt."""
    if not (any(locks(root)) or any((root / "published").glob("*.json")) or _git(root, "rev-parse", "--git-dir")):
        raise UserError(
            f"{root.resolve()} has no git repository, dvc.lock or published/, so nothing tells here which versions and "
            "shards are needed: run this in the project's clone."
        )


def delete(params: Params, versions: list[Unneeded]) -> None:
    """Deletes versions; the manifest first, so that none exists in part."""
    store = params.open_store()
    for version in versions:
        for key in version.keys:
            store.delete(key)


def _has_manifest(keys: list[str]) -> bool:
    """True if a manifest is among the keys of a version."""
    return any(key.endswith(f"/{MANIFEST}") for key in keys)


def _pointed(store: Store, keys: list[str], experiment: str) -> set[str]:
    found = set[str]()
    for name in (LATEST, *aliases(keys, experiment)):
        if pointer := read(store, experiment, name):
            found |= {pointer.version, *(move.version for move in pointer.history[-2:])}
    return found


def _named(store: Store, root: Path, files: dict[tuple[str, int], list[str]], whole: set[tuple[str, int]]) -> set[str]:
    """`EXPERIMENT@vN` for each version that a receipt here, or the card or configuration of another version, names."""
    found = set[str]()
    for path in sorted((root / "published").glob("*.json")):
        receipt = Receipt.loads(path.read_bytes(), path, "publish the model again")
        found.add(f"{receipt.experiment}@{receipt.version}")
    pattern = re.compile(r"([A-Za-z0-9][\w.-]*)(?:@|/)(v[1-9]\d*)\b")
    for experiment, number in sorted(whole):
        own = f"{experiment}@v{number}"
        for key in files[experiment, number]:
            if key.endswith((".json", ".md")) and not key.endswith(f"/{MANIFEST}"):
                text = store.get(key).decode(errors="replace")
                found |= {f"{name}@{version}" for name, version in pattern.findall(text)} - {own}
    return found


def _locked(root: Path) -> set[str]:
    """The MD5s of the files published/<experiment>.json that any dvc.lock here names: of the folder, or a branch."""
    return {md5 for text in locks(root) for md5 in re.findall(r"\bmd5: '?([0-9a-f]{32})\b", text)}


def locks(root: Path) -> Iterator[str]:
    """Yields the text of each dvc.lock: that of the folder, and those of git's branches and tags."""
    yield from (path.read_text() for path in [root / "dvc.lock"] if path.is_file())
    prefix = _git(root, "rev-parse", "--show-prefix").strip()
    kinds = ("refs/heads", "refs/remotes", "refs/tags")
    for reference in _git(root, "for-each-ref", "--format=%(refname)", *kinds).split():
        yield _git(root, "show", f"{reference}:{prefix}dvc.lock")


def _git(root: Path, *words: str) -> str:
    """What git prints in a folder; "" if it fails."""
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""
