"""One fault that was made to happen, what came of it, and the table of counts."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.measure import Row

SURVIVED = "survived"
"""The command ended well all the same, and its results are those of an undisturbed run."""
MENDED = "mended"
"""It ended early; a plain re-run, or what its message asked for, then gave the results of an undisturbed run."""
LOST = "lost"
"""Anything else: another result, something half-made, a command that hangs, or a message that does not help."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fault that was made to happen."""

    part: str
    """Part of the benchmark."""
    fault: str
    """What happened."""
    stage: str
    """The stage during which it happened."""
    outcome: str
    """SURVIVED, MENDED or LOST."""
    told: str = ""
    """The last sentence of the command that was disturbed, where it failed."""
    note: str = ""
    """Which process, when, how; for what is lost, why."""

    @property
    def line(self) -> str:
        """For the terminal."""
        told = f" | told: {self.told}" if self.told else ""
        return f"{self.outcome}: {self.fault}, {self.stage}: {self.note}{told}"

    @property
    def row(self) -> Row:
        """For the JSON file."""
        return asdict(self)


def counts(events: Iterable[Event]) -> list[Row]:
    """A row for each part and fault, in the order of their first event, and one for all."""
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        groups.setdefault((event.part, event.fault), []).append(event)
    rows = [_count(part, fault, group) for (part, fault), group in groups.items()]
    return [*rows, _count("all", "", [event for group in groups.values() for event in group])]


def _count(part: str, fault: str, events: Sequence[Event]) -> Row:
    outcomes = [event.outcome for event in events]
    return {
        "part": part,
        "fault": fault,
        "times": len(events),
        **{outcome: outcomes.count(outcome) for outcome in (SURVIVED, MENDED, LOST)},
    }
