"""The line that tells the progress of a training where there is no terminal: written and read in one place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LINE = re.compile(r"(?P<name>\S+): step (?P<step>\d+) of (?P<steps>\d+), (?P<rest>.+)")


@dataclass(frozen=True, kw_only=True)
class ProgressLine:
    """How far a training is; `str` of it is the line."""

    name: str
    """The experiment."""
    step: int
    """Steps that are done."""
    steps: int
    """Steps of the whole run."""
    told: Sequence[str] = ()
    """Loss, learning rate and speed, as words."""
    left: str = ""
    """Time that is left, such as "12 min"; empty if it is not known."""
    psnr: str = ""
    """The last validation, such as "PSNR 27.40 dB"; empty before the first."""

    def __str__(self) -> str:
        """The line: `sr-x2: step 20 of 400, loss 0.0312, 3 min left, PSNR 27.40 dB`."""
        left = [f"{self.left} left"] if self.left else []
        words = [f"step {self.step} of {self.steps}", *self.told, *left, *filter(None, [self.psnr])]
        return f"{self.name}: {', '.join(words)}"


def read_line(line: str) -> ProgressLine | None:
    """Returns what a line of output tells of the progress; None if it is another line."""
    if not (found := _LINE.fullmatch(line.strip())):
        return None
    told = found["rest"].split(", ")
    psnr = told.pop() if told[-1].startswith("PSNR ") else ""
    left = told.pop().removesuffix(" left") if told and told[-1].endswith(" left") else ""
    return ProgressLine(
        name=found["name"], step=int(found["step"]), steps=int(found["steps"]), told=told, left=left, psnr=psnr
    )
