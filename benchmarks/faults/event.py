"""One fault that was made to happen, what came of it, and the table of counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.measure import Row

SURVIVED = "survived"
"""The command ended well all the same, and its results are those of an undisturbed run."""
MENDED = "mended"
"""It ended early; a plain re-run, or what its message asked for, then gave the results of an undisturbed run."""
LOST = "lost"
"""Anything else: another result, something half-made, a command that hangs, or a message that does not help."""
NOTHING = "nothing happened"
"""The command ended well, and no fault met it: whom it was to be dealt had ended, or asked for nothing."""


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
    """SURVIVED, MENDED, LOST or NOTHING."""
    told: str = ""
    """The last sentence of the command that was disturbed, where it failed."""
    note: str = ""
    """Which process, when, how; for what is lost, why."""
    date: str = ""
    """Day on which it happened; a file of events may be added to on others."""
    machine: Mapping[str, object] = field(default_factory=dict)
    """Where it happened (benchmarks.measure.machine)."""

    @property
    def line(self) -> str:
        """For the terminal."""
        told = f" | told: {self.told}" if self.told else ""
        return f"{self.outcome}: {self.fault}, {self.stage}: {self.note}{told}"

    @property
    def row(self) -> Row:
        """For the JSON file."""
        return asdict(self)


def outcome_of(wrong: Sequence[str], status: int | None, dealt: bool) -> str:
    """The outcome of an event.

    Args:
        wrong: what is not as after an undisturbed run.
        status: exit status of the command that was disturbed; None: it hung.
        dealt: False if no fault met it.
    """
    return LOST if wrong else MENDED if status else SURVIVED if dealt else NOTHING


def counts(events: Iterable[Event]) -> list[Row]:
    """A row for each part and fault, in the order of their first event, and one for all; NOTHING is not counted."""
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        groups.setdefault((event.part, event.fault), []).append(event)
    rows = [_count(part, fault, group) for (part, fault), group in groups.items()]
    return [*rows, _count("all", "", [event for group in groups.values() for event in group])]


def _count(part: str, fault: str, events: Sequence[Event]) -> Row:
    outcomes = [event.outcome for event in events if event.outcome != NOTHING]
    return {
        "part": part,
        "fault": fault,
        "times": len(outcomes),
        **{outcome: outcomes.count(outcome) for outcome in (SURVIVED, MENDED, LOST)},
    }
