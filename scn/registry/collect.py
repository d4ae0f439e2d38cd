"""Finds what nobody needs of the registry: half versions, and old ones that nothing names."""

import hashlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.inference.records import Receipt
from scn.registry.ages import ages
from scn.registry.manifest import MANIFEST
from scn.registry.pointers import LATEST, aliases, read
from scn.registry.publish import receipt_of, version_folder
from scn.storage.base import Store

_LOCKED = re.compile(r"path: published/([^/\s]+)\.json\n\s+hash: md5\n\s+md5: '?([0-9a-f]{32})\b")


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """A version that may be deleted."""

    experiment: str
    version: str
    why: str
    """Why nobody needs it."""
    keys: list[str]
    """Keys of its files in the store, in the order in which they are deleted."""
    days: int | None = None
    """Whole days for which a half version, which a publisher may be at work on, has been found unchanged."""
    deletable: bool = True
    """False: not long enough to delete it."""

    def told(self, after_days: float) -> str:
        """A line for people."""
        when = "" if self.deletable else f", found so for {self.days} of {after_days:g} days"
        return f"{self.experiment}@{self.version}: {self.why}{when}"


def unneeded(params: Params) -> list[Unneeded]:
    """Returns the versions that may be deleted, by experiment and number.

    Kept are the newest `registry.keep` of each experiment, always the one with the highest number, and all that a
    pointer, its history's last move but one, the next rollback, a receipt in published/, a dvc.lock (of any branch) or
    a model card or configuration of another version names. Half versions are aged (scn.registry.ages).

    Raises:
        UserError: if the store or git can't be read, or a pointer is damaged.
    """
    store = params.open_store()
    files = defaultdict[tuple[str, int], list[str]](list)
    keys = store.list("registry/")
    for key in keys:
        if found := re.fullmatch(r"registry/([^/]+)/v([1-9]\d*)/[^/]+", key):
            files[found[1], int(found[2])].append(key)
    whole = {version for version, held in files.items() if _has_manifest(held)}
    named = _named(store, params.root, files, whole)
    receipts = _receipts(params, store, whole)
    locked, unknown = _locked(params.root, receipts)
    halves: dict[str, Unneeded] = {}
    result = []
    for experiment in sorted({experiment for experiment, _ in files}):
        numbers = sorted(number for each, number in files if each == experiment)
        newest = [number for number in numbers if (experiment, number) in whole][-params.registry.keep :]
        pointed = _pointed(store, keys, experiment, [number for number in numbers if (experiment, number) in whole])
        if experiment in unknown:
            print(
                f"No whole version of {experiment} is looked at, as a receipt that a dvc.lock names is not in DVC's "
                "cache: `dvc fetch --all-branches` brings it, if a remote has it.",
                file=sys.stderr,
            )
        for number in numbers:
            version, held = f"v{number}", files[experiment, number]
            manifests_first = sorted(held, key=lambda key: not key.endswith(f"/{MANIFEST}"))
            if (experiment, number) not in whole:
                if number < max(newest, default=0):  # a higher one may be that of a publisher at work
                    halves[version_folder(experiment, number)] = Unneeded(
                        experiment=experiment, version=version, why="it was never published whole", keys=manifests_first
                    )
                continue
            if number in newest or version in pointed or f"{experiment}@{version}" in named | locked:
                continue
            if experiment in unknown:
                continue
            why = f"older than the newest {params.registry.keep}, and nothing names it"
            result.append(Unneeded(experiment=experiment, version=version, why=why, keys=manifests_first))
    age = ages(params, ("registry/",), {folder: digest(sorted(half.keys)) for folder, half in halves.items()})
    result += [replace(each, days=age[folder].days, deletable=age[folder].enough) for folder, each in halves.items()]
    return sorted(result, key=lambda each: (each.experiment, int(each.version[1:])))


def check_folder(root: Path) -> None:
    """Raises UserError for a folder that can't tell what is needed, as it has no git, dvc.lock or receipt."""
    if not (any(locks(root)) or any((root / "published").glob("*.json")) or _git(root, "rev-parse", "--git-dir")):
        raise UserError(
            f"{root.resolve()} has no git repository, dvc.lock or published/, so nothing tells here which versions and "
            "shards are needed: run this in the project's clone."
        )


def delete(params: Params, versions: list[Unneeded]) -> list[Unneeded]:
    """Deletes versions, the manifest first, so that none exists in part; returns those that were deleted.

    Left are half versions that are not old enough, and what a pointer was moved to since it was found unneeded.
    """
    store, deleted = params.open_store(), []
    for each in versions:
        keys = store.list(f"registry/{each.experiment}/")
        whole = each.days is None
        if not each.deletable or (whole and each.version in _pointed(store, keys, each.experiment, [])):
            continue
        for key in each.keys:
            store.delete(key)
        deleted.append(each)
    return deleted


def _has_manifest(keys: list[str]) -> bool:
    """True if a manifest is among the keys of a version."""
    return any(key.endswith(f"/{MANIFEST}") for key in keys)


def _pointed(store: Store, keys: list[str], experiment: str, numbers: list[int]) -> set[str]:
    """The versions that names of an experiment point to, and those that their next rollbacks would, of `numbers`."""
    found = set[str]()
    for name in (LATEST, *aliases(keys, experiment)):
        if pointer := read(store, experiment, name):
            found |= {pointer.version, *(move.version for move in pointer.history[-2:]), pointer.before(numbers)}
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


def _receipts(params: Params, store: Store, whole: set[tuple[str, int]]) -> dict[str, str]:
    """MD5 of a receipt, as DVC knows files -> `EXPERIMENT@vN`, with the store's URL as params.yaml has it now."""
    found = {}
    for experiment, number in whole:
        manifest = store.get(f"{version_folder(experiment, number)}/{MANIFEST}")
        receipt = receipt_of(params, experiment, number, manifest)
        for written in (receipt, receipt.model_copy(update={"weights_sha256": None})):  # as it was written before
            md5 = hashlib.md5(written.dumps(), usedforsecurity=False).hexdigest()
            found[md5] = f"{experiment}@v{number}"
    return found


def _locked(root: Path, receipts: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """What any dvc.lock here names, of the folder or a branch: `EXPERIMENT@vN`, and experiments with unknown versions.

    A lock names the MD5 of a receipt, which holds the store's URL: where that has changed since, DVC's cache has it.
    """
    texts = list(locks(root))
    found = {
        receipts[md5] for text in texts for md5 in re.findall(r"\bmd5: '?([0-9a-f]{32})\b", text) if md5 in receipts
    }
    others = {(name, md5) for text in texts for name, md5 in _LOCKED.findall(text) if md5 not in receipts}
    cache, unknown = dvc_cache(root) if others else root, set[str]()
    for name, md5 in sorted(others):
        path = cache / "files" / "md5" / md5[:2] / md5[2:]
        try:
            receipt = Receipt.loads(path.read_bytes(), path, "fetch it again")
        except (OSError, UserError):
            unknown.add(name)
            continue
        found.add(f"{receipt.experiment}@{receipt.version}")
    return found, unknown


def dvc_cache(root: Path) -> Path:
    """The folder of DVC's cache of a project."""
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True)
    return root / (done.stdout.strip() or ".dvc/cache")


def locks(root: Path) -> Iterator[str]:
    """Yields the text of each dvc.lock: that of the folder, and those of git's branches and tags.

    Raises:
        UserError: if git can't be asked, as by another user than the clone's owner.
    """
    yield from (path.read_text() for path in [root / "dvc.lock"] if path.is_file())
    prefix = _git(root, "rev-parse", "--show-prefix").strip()
    kinds = ("refs/heads", "refs/remotes", "refs/tags")
    for reference in _git(root, "for-each-ref", "--format=%(refname)", *kinds).split():
        if _git(root, "ls-tree", "--full-tree", "--name-only", reference, f"{prefix}dvc.lock"):
            yield _git(root, "show", f"{reference}:{prefix}dvc.lock")


def _git(root: Path, *words: str) -> str:
    """What git prints in a folder; "" if that lies in no repository."""
    what = f"git can't be asked in {root.resolve()} what its branches need"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError as error:
        raise UserError(f"{what} ({error.strerror}): install git.") from None
    if done.returncode == 0:
        return done.stdout
    if "not a git repository" in done.stderr:
        return ""
    first = next(iter(done.stderr.strip().splitlines()), "no reason was given")
    raise UserError(f"{what} ({first}): run this as the owner of that clone, or mend it.")
