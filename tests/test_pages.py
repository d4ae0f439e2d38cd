"""The pages, README.md and all others, tell of the commands that there are, whose help shows all that it says."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from data_prep.cli import app as data_prep
from scn.cli import app as scn

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS: dict[str, Any] = {"scn": typer.main.get_command(scn), "data-prep": typer.main.get_command(data_prep)}
WORD = "([a-z][a-z-]*)"
CALL = re.compile(
    rf"(?:^ {{4,}}(?:.*(?:&&|--no-python|WORKER) )?|`(?:.*WORKER )?)(scn|data-prep)\s+{WORD}(?:\s+{WORD})?",
    re.MULTILINE,
)
"""A command in a line that is indented as code, or where a code span begins, which may go on in the next line."""


def pages() -> dict[str, str]:
    """The texts of the tracked pages, by their names."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "*.md"], check=True, capture_output=True, text=True)
    return {name: (ROOT / name).read_text() for name in names.stdout.split("\0") if name}


def all_below(command: Any) -> Iterator[Any]:
    """A command, and all below it."""
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from all_below(below)


COMMANDS = [command for program in PROGRAMS.values() for command in all_below(program)]


def test_every_command_that_a_page_names_exists() -> None:
    calls = [(name, *call) for name, text in pages().items() for call in CALL.findall(text)]
    assert len(calls) > 200  # or they are written in a way that is not found here
    for name, program, first, second in calls:
        below = PROGRAMS[program].commands
        assert first in below, f"{name}: {program} {first}"
        if second and (below := getattr(below[first], "commands", {})):
            assert second in below, f"{name}: {program} {first} {second}"


def test_every_option_is_on_a_page() -> None:
    """Or in dvc.yaml, for what only its stages need."""
    text = "\n".join([*pages().values(), (ROOT / "dvc.yaml").read_text()])
    told = set(re.findall(r"--[a-z][a-z-]*", text))
    for command in COMMANDS:
        options = {option for each in command.params for option in each.opts if option.startswith("--")}
        untold = options - told - {"--version"}
        assert not untold, command.name


def test_help_loses_nothing_to_the_markup_of_rich() -> None:
    """Which takes what stands in square brackets for a style, unless a backslash stands before it."""
    helps = [getattr(each, "help", None) or "" for command in COMMANDS for each in (command, *command.params)]
    assert len(helps) > 150
    for text in helps:
        assert Text.from_markup(text).plain == text.replace(r"\[", "[")
