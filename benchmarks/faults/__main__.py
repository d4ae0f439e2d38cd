"""Makes faults happen while the pipeline works, and counts what came of them.

    python -m benchmarks.faults [--json FILE] [--only PART] [--kills N] [--ray-kills N] [--seed N] [--fault NAME]

The project is this one at its smallest size (benchmarks.faults.project). `survived`: the disturbed command ended well;
`mended`: it ended early, and a plain re-run, or what its message asked for, put all in order; `lost`: anything else.
Where no fault met the command, `nothing happened`, which is not counted.
With --json, rows of parts and faults that were not asked for stay in the file.
"""

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.faults.away import away
from benchmarks.faults.damage import damage
from benchmarks.faults.event import Event, counts
from benchmarks.faults.kills import kills
from benchmarks.faults.project import Project
from benchmarks.faults.surroundings import surroundings
from benchmarks.faults.unsteady import unsteady
from benchmarks.measure import machine, table, write_json

TITLE = "What the pipeline makes of faults"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints each event and the table of counts, and writes the events to the file that --json names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the events to this file")
    parser.add_argument("--only", choices=PARTS, action="append", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--kills", type=int, default=40, metavar="N", help="of a pipeline without Ray (%(default)s)")
    parser.add_argument("--ray-kills", type=int, default=10, metavar="N", help="as dvc.yaml has it (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills (%(default)s)")
    parser.add_argument(
        "--fault", action="append", metavar="NAME", help="of s3 and damage, only those that are so named"
    )
    options = parser.parse_args(argv)
    events: list[Event] = []
    for name in options.only or PARTS:
        asked = (options.fault or ()) if name in CHOOSING else ()
        kept = [each for each in _read(options.json) if each.part != name or (asked and each.fault not in asked)]
        made: list[Event] = []
        with tempfile.TemporaryDirectory(prefix="scn-faults-") as folder:
            for event in PARTS[name](Path(folder), options):
                print(event.line, flush=True)
                made.append(replace(event, date=datetime.date.today().isoformat(), machine=machine()))
                write_json(options.json, TITLE, [event.row for event in (*kept, *made)])
        events += made
    print(table(counts(events)))


def _read(path: Path | None) -> list[Event]:
    """The events that the file has already; those of an older version have the date and the machine of the file."""
    if not path or not path.is_file():
        return []
    found = json.loads(path.read_text())
    about = {name: found[name] for name in ("date", "machine")}
    return [Event(**(about | row)) for row in found["rows"]]


def _kills(folder: Path, options: argparse.Namespace) -> Iterator[Event]:
    for ray, times, label in ((False, options.kills, "kill -9"), (True, options.ray_kills, "kill -9, with Ray")):
        if times:
            project = Project(folder / ("ray" if ray else "plain"))
            project.make(ray=ray)
            yield from kills(project, times, options.seed, label)


PARTS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Event]]] = {
    "kills": _kills,
    "s3": lambda folder, options: unsteady(folder, options.fault),
    "damage": lambda folder, options: damage(folder, options.fault),
    "prefect": lambda folder, options: away(folder),
    "surroundings": lambda folder, options: surroundings(folder),
}
CHOOSING = ("s3", "damage")
"""Parts that heed --fault."""


if __name__ == "__main__":
    main()
