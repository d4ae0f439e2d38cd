"""Finds what nobody needs in the store: old checkpoints, and shards that no manifest names.

They may be deleted once they have been found so for a while (scn.registry.ages).
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scn.config.params import Params
from scn.core.hashing import digest
from scn.registry.ages import ages
from scn.registry.collect import dvc_cache, locks
from scn.storage.base import Store

_RUN = re.compile(r"runs/[^/]+/[^/]+(?=/)")
_SHARD = re.compile(r"shards/[^/]+/[0-9a-f]{32}/\d+\.tar")
_LOCKED = re.compile(r"path: (shards/\S+\.json)\n\s+hash: md5\n\s+md5: '?([0-9a-f]{32})\b")


@dataclass(frozen=True, kw_only=True)
class Old:
    """Something in the store that nobody needs."""

    name: str
    """Common beginning of its keys."""
    why: str
    keys: list[str]
    days: int
    """Whole days for which it has been found unneeded and unchanged."""
    deletable: bool
    """True: long enough to delete it."""


def find_old(params: Params) -> list[Old]:
    """Returns the runs' checkpoints, shards and Ray's notes that nobody needs, and notes when they were found first.

    Needed are the shards that a manifest names: of this folder, of its flow runs and studies, and of every dvc.lock of
    a branch, as DVC's cache has them. Checkpoints are needed while their run is at work.

    If a manifest that a dvc.lock names is not in DVC's cache, no shard is called unneeded, and stderr says so.

    Raises:
        UserError: if the store can't be read.
    """
    store, root = params.open_store(), params.root
    found = {**_checkpoints(store), **_shards(store, root), **_of_ray(store)}
    age = ages(params, ("runs/", "shards/", "ray-train/"), {name: state for name, (state, _, _) in found.items()})
    return [
        Old(name=name, why=why, keys=keys, days=age[name].days, deletable=age[name].enough)
        for name, (_, why, keys) in sorted(found.items())
    ]


def delete_old(params: Params, found: Iterable[Old]) -> int:
    """Deletes what may be deleted of what `find_old` has found; returns the number of objects.

    A shard that a manifest has come to name meanwhile is left.
    """
    store, named = params.open_store(), _named(params.root)[0]
    keys = [key for old in found if old.deletable for key in old.keys if key not in named]
    for key in keys:
        store.delete(key)
    return len(keys)


def _checkpoints(store: Store) -> dict[str, tuple[str, str, list[str]]]:
    """Run -> its state, why it may be deleted, and its keys."""
    keys = defaultdict[str, list[str]](list)
    for key in store.list("runs/"):
        if found := _RUN.match(key):
            keys[found[0]].append(key)
    return {
        name: (digest([of_run, _beat(store, name)]), "checkpoints of a run that is not at work", of_run)
        for name, of_run in keys.items()
    }


def _of_ray(store: Store) -> dict[str, tuple[str, str, list[str]]]:
    """Folder of the files that Ray Train writes for itself -> the same."""
    keys = defaultdict[str, list[str]](list)
    for key in store.list("ray-train/"):
        keys["/".join(key.split("/")[:2])].append(key)
    return {
        name: (digest(sorted(of_run)), "what Ray Train noted of workers that have ended", of_run)
        for name, of_run in keys.items()
    }


def _beat(store: Store, run: str) -> str:
    """What the lease of a run holds; it changes while the run is at work."""
    return (store.read_pointer(f"{run}/lease.json")[0] or b"").decode(errors="replace")


def _shards(store: Store, root: Path) -> dict[str, tuple[str, str, list[str]]]:
    """Folder of a shard -> the same."""
    named, unknown = _named(root)
    if unknown:
        print(
            f"No shard is looked at, as {unknown[0]} of a dvc.lock is not in DVC's cache: `dvc fetch --all-branches` "
            "brings it, if a remote has it.",
            file=sys.stderr,
        )
        return {}
    keys = (key for key in store.list("shards/") if _SHARD.fullmatch(key) and key not in named)
    return {key.rpartition("/")[0]: ("", "a shard that no manifest names", [key]) for key in keys}


def _named(root: Path) -> tuple[set[str], list[str]]:
    """The shards that manifests name, and the manifests of a dvc.lock that are not here."""
    patterns = ("shards/*/*.json", ".scn/flow-runs/*/shards/*/*.json", "studies/*/shards/*/*.json")
    kept = ".scn/studies/*/shards/*/*.json"
    texts = [path.read_text() for pattern in (*patterns, kept) for path in root.glob(pattern)]
    unknown = []
    wanted = {(path, md5) for lock in locks(root) for path, md5 in _LOCKED.findall(lock)}
    cache = dvc_cache(root) if wanted else root
    for path, md5 in sorted(wanted):
        try:
            texts.append((cache / "files" / "md5" / md5[:2] / md5[2:]).read_text())
        except FileNotFoundError:
            unknown.append(path)
    return {key for text in texts for key in _SHARD.findall(text)}, unknown
