"""For how long something has been found unneeded: a store does not tell how old an object is.

So what was found unneeded is noted in .scn/unneeded.json with the time, and may be deleted once it has been found so,
and unchanged, for `collect.after_days`: a preparation, a training or a publisher that is at work while someone looks
loses nothing by that.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scn.config.params import Params
from scn.core.errors import DiskFullError
from scn.core.files import write_atomically

NOTES = Path(".scn/unneeded.json")
"""What was found unneeded and since when, relative to the project's folder."""


@dataclass(frozen=True, kw_only=True)
class Age:
    """For how long something has been found unneeded and unchanged."""

    days: int
    """Whole days."""
    enough: bool
    """True: long enough to delete it."""


def ages(params: Params, prefixes: tuple[str, ...], found: Mapping[str, str]) -> dict[str, Age]:
    """Notes what was found unneeded now, and returns for how long each of it has been.

    On a full disk nothing can be noted, which stderr says: what was noted before may be deleted all the same.

    Args:
        prefixes: beginnings of all names that were looked at: what is noted of one of them and not found is forgotten.
        found: name -> its state, whose change begins its age anew.
    """
    path = params.root / NOTES
    notes: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):  # damaged, it costs the ages that it knew
        notes = dict(json.loads(path.read_bytes()))
    now = datetime.now(UTC)
    kept = {name: note for name, note in notes.items() if not name.startswith(prefixes)}
    result = {}
    for name, state in found.items():
        before = notes.get(name)
        kept[name] = before if before and before["state"] == state else {"state": state, "since": now.isoformat()}
        age = now - datetime.fromisoformat(kept[name]["since"])
        result[name] = Age(days=age.days, enough=age >= timedelta(days=params.collect.after_days))
    if kept != notes:
        try:
            write_atomically(path, (json.dumps(kept, indent=1) + "\n").encode())
        except DiskFullError as error:
            print(f"What is found unneeded for the first time is not noted: {error}", file=sys.stderr)
    return result
