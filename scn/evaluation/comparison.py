"""Sets figures of this project beside published ones: the difference, and marks where they do not compare alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from scn.core.errors import UserError
from scn.evaluation.paper_networks import count_parameters, is_ensemble, parameters_of
from scn.evaluation.protocols import PROTOCOLS
from scn.evaluation.published import Published, published
from scn.evaluation.runs import Run
from scn.inference.records import Figures, chosen_on

SAME_SIZE = 0.1
"""Share by which the parameters of two networks may differ before it is marked."""
MARKS: Mapping[str, str] = {
    "P": "its protocol is another than ours",
    "D": "it was trained on other images than ours",
    "S": f"its parameters differ from ours by more than {SAME_SIZE:.0%}",
    "?": "the paper does not tell what it was trained on, or its size",
    "O": "what ours was trained on, or its size, is not known here, so that these are not compared",
    "I": "it was measured on other images, or images reduced in another way, than the run that differences refer to",
    "B": "its weights are the best of several validations on these images, so that its figures are too high for others",
    "!": "misprint",
}
"""Mark of a figure, published or ours -> what it says."""
TRAINED_ON: Mapping[str, Sequence[frozenset[str]]] = {
    "DIV2K (800 training images)": (frozenset({"DIV2K/train"}),),
    "BSD (200 training and 200 test images)": (
        frozenset({"Train400"}),
        frozenset({"BSDS500/train", "BSDS500/test"}),
    ),
    "91 images of Yang et al. 2010 and BSD (200 training images)": (frozenset({"T91", "BSDS500/train"}),),
}
"""Training images as published.csv tells them -> the same images here, in every way to name them."""
UNTRAINED = ("Bicubic", "JPEG", "BM3D", "SA-DCT")
"""Published methods that learn nothing from images."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A published figure beside ours."""

    row: Published
    difference: float | None
    """Our PSNR in dB, with self-ensemble where the row has it, minus the published one; None where ours was not
    measured under its protocol, or the published one is a misprint."""
    marks: str
    """Keys of MARKS."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One evaluation set at one level of a task: our runs, and what is published."""

    task: str
    level: int
    set_name: str
    protocol: str
    """The protocol of most published rows where ours was measured under it, otherwise the task's first one."""
    runs: Sequence[Run]
    """Those that were measured on the set, in the order of params.yaml."""
    reference: Run
    """The run that differences and marks refer to: of those on the most images the one with the highest PSNR."""
    published: Sequence[Beside]
    """In the order of the table of published figures; those without a PSNR are left out."""

    @property
    def protocols(self) -> list[str]:
        """Returns the protocol and those of other published rows: figures of different ones are never in one order."""
        return list(dict.fromkeys([self.protocol, *(each.row.protocol for each in self.published)]))

    def figures(self, run: Run, method: str) -> Figures:
        """Returns the means of a run under the protocol."""
        found = run.figures(self.set_name, self.protocol, method)
        assert found is not None  # `comparisons` has refused runs without it
        return found

    def marks(self, run: Run) -> str:
        """Returns the keys of MARKS for a run of ours."""
        marks = "I" if _other_images(run, self.reference, self.set_name) else ""
        return f"{marks}B" if self.set_name in chosen_on(run.config) else marks


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Returns a comparison for each level and evaluation set that was measured, by task and level.

    Args:
        runs: our runs, each with self-ensemble.
    Raises:
        UserError: if a run was measured by another version of the project, whose tasks or protocols are not known here.
    """
    for run in runs:
        _check(run)
    keys = dict.fromkeys(
        (run.evaluation.task, run.evaluation.level, name) for run in runs for name in run.evaluation.sets
    )
    order = list(PROTOCOLS)
    return [_comparison(*key, runs) for key in sorted(keys, key=lambda key: (order.index(key[0]), key[1]))]


def size_of(run: Run) -> int | None:
    """Returns the parameters of a run's network; None if its model is not here, or is of another version of scn."""
    with suppress(UserError):
        return count_parameters(run.architecture) if run.architecture else None
    return None


def _check(run: Run) -> None:
    cure = "restore its folder from git" if run.ships else f"run `dvc repro ensemble@{run.name}`"
    if run.evaluation.task not in PROTOCOLS:
        raise UserError(f"The figures of {run.name} are of a task that is not known, '{run.evaluation.task}': {cure}.")
    first = PROTOCOLS[run.evaluation.task][0].name
    for name, result in run.evaluation.sets.items():
        if first not in result.mean:
            under = ", ".join(result.mean)
            raise UserError(f"The figures of {run.name} on {name} were measured under {under}, not {first}: {cure}.")


def _other_images(run: Run, reference: Run, set_name: str) -> bool:
    """True if two runs were measured on different images, as far as their files tell."""
    one, two = run.evaluation.provenance, reference.evaluation.provenance
    if one.data_sha256 == two.data_sha256:
        return False
    hashes = [(each.sets_sha256 or {}).get(set_name) for each in (one, two)]
    return one.images[set_name] != two.images[set_name] or (None not in hashes and hashes[0] != hashes[1])


def _comparison(task: str, level: int, set_name: str, runs: Sequence[Run]) -> Comparison:
    mine = [
        run
        for run in runs
        if (run.evaluation.task, run.evaluation.level) == (task, level) and set_name in run.evaluation.sets
    ]
    rows = [row for row in published(task, level, set_name) if row.psnr is not None]
    measured = set.intersection(*(set(run.evaluation.sets[set_name].mean) for run in mine))
    usual = Counter(row.protocol for row in rows if row.protocol in measured).most_common(1)
    protocol = usual[0][0] if usual else PROTOCOLS[task][0].name
    # What is published is of whole sets, so that fewer images make no reference.
    reference = max(
        mine, key=lambda run: (run.evaluation.provenance.images[set_name], _psnr(run, set_name, protocol, "model") or 0)
    )
    size = size_of(reference) if rows else None
    return Comparison(
        task=task,
        level=level,
        set_name=set_name,
        protocol=protocol,
        runs=mine,
        reference=reference,
        published=[_beside(row, reference, set_name, size) for row in rows],
    )


def _beside(row: Published, reference: Run, set_name: str, size: int | None) -> Beside:
    ours = _psnr(reference, set_name, row.protocol, "ensemble" if is_ensemble(row) else "model")
    marks = "" if ours is not None else "P"
    if row.method not in UNTRAINED:
        theirs, corpora = parameters_of(row), frozenset(reference.training_corpora)
        if row.training_data and corpora and corpora not in TRAINED_ON.get(row.training_data, ()):
            marks += "D"
        if size and theirs and abs(theirs / size - 1) > SAME_SIZE:
            marks += "S"
        marks += "" if row.training_data and theirs else "?"
        if (row.training_data and not corpora) or (theirs and not size):
            marks += "O"
    if row.note.startswith("misprint"):
        ours, marks = None, f"{marks}!"
    assert row.psnr is not None
    return Beside(row=row, difference=None if ours is None else ours - row.psnr, marks=marks)


def _psnr(run: Run, set_name: str, protocol: str, method: str) -> float | None:
    found = run.figures(set_name, protocol, method)
    return found.psnr if found else None
