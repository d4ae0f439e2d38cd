"""Finds what nobody needs: old checkpoints, in the store and on this machine, and shards that no manifest names.

They may be deleted once they have been found so for a while (scn.registry.ages).
"""

import re
import shutil
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
from scn.storage.lease import Holder
from scn.storage.local import FileStore
from scn.training.checkpoint_files import Place

_HERE = ".scn/runs/"
"""Where scn.launch.stage keeps checkpoints on this machine, by the names that they have in the store."""
_RUN = re.compile(r"runs/[^/]+/[^/]+(?=/)")
_SHARD = re.compile(r"shards/[^/]+/[0-9a-f]{32}/\d+\.tar")
_LOCKED = re.compile(r"path: (shards/\S+\.json)\n\s+hash: md5\n\s+md5: '?([0-9a-f]{32})\b")


@dataclass(frozen=True, kw_only=True)
class Old:
    """Something in the store, or a run's folder on this machine, that nobody needs."""

    name: str
    """Common beginning of its keys; the folder's path in the project."""
    state: str
    """Changes when somebody is at work on it."""
    why: str
    keys: list[str]
    """In the store; the files of a folder."""
    days: int
    """Whole days for which it has been found unneeded and unchanged."""
    deletable: bool
    """True: long enough to delete it."""


def find_old(params: Params) -> list[Old]:
    """Returns the runs' checkpoints, shards and Ray's notes that nobody needs, and notes when they were found first.

    Needed are the shards that a manifest names: of this folder, of its flow runs and studies, and of every dvc.lock of
    a branch, as DVC's cache has them. Checkpoints are needed while their run is at work; those on this machine, unless
    they are of another store, while the store has anything of the run.

    If a manifest that a dvc.lock names is not in DVC's cache, no shard is called unneeded, and stderr says so.

    Raises:
        UserError: if the store can't be read.
    """
    store, root = params.open_store(), params.root
    found = {**_checkpoints(store), **_shards(store, root), **_of_ray(store), **_here(store, root)}
    age = ages(
        params, ("runs/", "shards/", "ray-train/", _HERE), {name: state for name, (state, _, _) in found.items()}
    )
    return [
        Old(name=name, state=state, why=why, keys=keys, days=age[name].days, deletable=age[name].enough)
        for name, (state, why, keys) in sorted(found.items())
    ]


def delete_old(params: Params, found: Iterable[Old]) -> int:
    """Deletes what may be deleted of what `find_old` has found; returns the number of objects and files.

    A shard that a manifest has come to name meanwhile is left, and so is a run that has gone on or is held, which
    stderr says.
    """
    store, named = params.open_store(), _named(params.root)[0]
    deleted = 0
    for old in found:
        if not old.deletable:
            continue
        if _at_work(store, params.root, old):
            print(f"{old.name} stays, as it has changed since it was looked at, or is held.", file=sys.stderr)
            continue
        if old.name.startswith(_HERE):
            shutil.rmtree(params.root / old.name)
            deleted += len(old.keys)
            continue
        keys = [key for key in old.keys if key not in named]
        for key in keys:
            store.delete(key)
        deleted += len(keys)
    return deleted


def _at_work(store: Store, root: Path, old: Old) -> bool:
    """True if something has changed or gone since it was found unneeded, or is a run whose lease is held."""
    if old.name.startswith("shards/"):
        return False
    here = old.name.startswith(_HERE)
    look = _checkpoints if old.name.startswith("runs/") else _of_ray
    now = (_here(store, root) if here else look(store, f"{old.name}/")).get(old.name)
    if not now or now[0] != old.state:
        return True
    if here:  # of a run that is held the store would have the lease
        return False
    # One that its holder has not moved for a day is nobody's; for a shorter time it may be refreshed next.
    beat = _beat(store, old.name) if old.days < 1 else ""
    return bool(beat) and not Holder.parse(beat.encode()).is_dead


def _checkpoints(store: Store, prefix: str = "runs/") -> dict[str, tuple[str, str, list[str]]]:
    """Run -> its state, why it may be deleted, and its keys."""
    keys = defaultdict[str, list[str]](list)
    for key in store.list(prefix):
        if found := _RUN.match(key):
            keys[found[0]].append(key)
    return {
        name: (digest([of_run, _beat(store, name)]), "checkpoints of a run that is not at work", of_run)
        for name, of_run in keys.items()
    }


def _of_ray(store: Store, prefix: str = "ray-train/") -> dict[str, tuple[str, str, list[str]]]:
    """Folder of the files that Ray Train writes for itself -> the same."""
    keys = defaultdict[str, list[str]](list)
    for key in store.list(prefix):
        keys["/".join(key.split("/")[:2])].append(key)
    return {
        name: (digest(sorted(of_run)), "what Ray Train noted of workers that have ended", of_run)
        for name, of_run in keys.items()
    }


def _here(store: Store, root: Path) -> dict[str, tuple[str, str, list[str]]]:
    """Folder of a run on this machine, of which the store has nothing -> the same."""
    stored, found = _checkpoints(store), {}
    for folder in (root / _HERE).glob("*/*/"):
        about = Place(FileStore(folder.parent), f"{folder.name}/").about()
        if f"runs/{folder.parent.name}/{folder.name}" in stored or about.get("store", store.url) != store.url:
            continue
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        state = digest([(str(file), file.stat().st_mtime_ns) for file in files])
        why = "checkpoints on this machine of a run of which the store has no more"
        found[folder.relative_to(root).as_posix()] = (state, why, [str(file) for file in files])
    return found


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
