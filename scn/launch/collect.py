"""Finds what nobody needs in the store: old checkpoints, and shards that no manifest names.

A store does not tell how old an object is. So what was found unneeded is noted in .scn/unneeded.json with the time, and
may be deleted once it has been found so, and unchanged, for `collect.after_days`. A preparation or a training that is
at work while someone looks loses nothing by that.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scn.config.params import Params
from scn.core.files import write_atomically
from scn.core.hashing import digest
from scn.registry.collect import locks
from scn.storage.base import Store

NOTES = Path(".scn/unneeded.json")
"""What was found unneeded and since when, relative to the project's folder."""

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
    """Returns the runs' checkpoints and the shards that nobody needs, and notes when they were found first.

    Needed are the shards that a manifest names: of this folder, of its flow runs and studies, and of every dvc.lock of
    a branch, as DVC's cache has them. Checkpoints are needed while their run is at work.

    If a manifest that a dvc.lock names is not in DVC's cache, no shard is called unneeded, and stderr says so.

    Raises:
        UserError: if the store can't be read.
    """
    store, root = params.open_store(), params.root
    found = {**_checkpoints(store), **_shards(store, root)}
    path = root / NOTES
    notes = json.loads(path.read_bytes()) if path.is_file() else {}
    now = datetime.now(UTC)
    kept = {}
    for name, (state, _, _) in found.items():
        before = notes.get(name)
        kept[name] = before if before and before["state"] == state else {"state": state, "since": now.isoformat()}
    write_atomically(path, (json.dumps(kept, indent=1) + "\n").encode())
    after = timedelta(days=params.collect.after_days)
    result = []
    for name, (_, why, keys) in sorted(found.items()):
        age = now - datetime.fromisoformat(kept[name]["since"])
        result.append(Old(name=name, why=why, keys=keys, days=age.days, deletable=age >= after))
    return result


def delete_old(params: Params, found: Iterable[Old]) -> int:
    """Deletes what may be deleted of what `find_old` has found; returns the number of objects."""
    store = params.open_store()
    keys = [key for old in found if old.deletable for key in old.keys]
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
    cache = _cache(root) if wanted else root
    for path, md5 in sorted(wanted):
        try:
            texts.append((cache / "files" / "md5" / md5[:2] / md5[2:]).read_text())
        except FileNotFoundError:
            unknown.append(path)
    return {key for text in texts for key in _SHARD.findall(text)}, unknown


def _cache(root: Path) -> Path:
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True)
    return root / (done.stdout.strip() or ".dvc/cache")
