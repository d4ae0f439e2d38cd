"""Tables for `dvc metrics` and `dvc plots`: one file for each experiment that was measured, figures alone.

DVC reads a folder as it is, and so has nothing to say of experiments that were not made; a file for each of the ten
in dvc.yaml it would miss.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.evaluation.results import figures_of
from scn.evaluation.runs import read_evaluation


def check_folders(params: Params, metrics: Path | None, plots: Path | None) -> None:
    """Looks at the folders of a command before anything is written; None: it was not given.

    Raises:
        UserError: if they are one folder, lie in each other, or hold something that is not written here.
    """
    if metrics and plots:
        one, other = metrics.resolve(), plots.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise UserError(f"--metrics {metrics} and --plots {plots} need two folders apart: name another one.")
    for folder, ours in ((metrics, _is_metrics), (plots, _is_plot)):
        if folder:
            with _told(folder):
                _written_before(params, folder, ours)


def write_metrics(params: Params, folder: Path) -> list[Path]:
    """Writes folder/<E>.json for each experiment that `read_evaluation` finds, in place of those that are there.

    A file holds, for each evaluation set, the figures of input, model and ensemble under the task's first protocol:
    `dvc metrics show` makes a column of each.

    Returns:
        the files, in the order of params.yaml.
    Raises:
        UserError: if figures or the folder can't be read or written, or the folder holds anything else.
    """
    figures = {}
    for name in params.experiments:
        if evaluation := read_evaluation(params, name):
            figures[f"{name}.json"] = json.dumps(figures_of(evaluation).for_dvc(), indent=1) + "\n"
    return _replace(params, folder, figures, _is_metrics)


def write_plots(params: Params, folder: Path) -> list[Path]:
    """Writes folder/<E>/<curve>.tsv for each experiment that has curves of its training, in place of those there.

    Each has a column `step` and one of the curve's name (loss, learning_rate, psnr-..., see docs/training.md).

    Returns:
        the files, in the order of params.yaml.
    Raises:
        UserError: if curves or the folder can't be read or written, or the folder holds anything else.
    """
    tables = {
        f"{name}/{path.name}": _table(path, name)
        for name in params.experiments
        for path in sorted((params.root / "curves" / name / "plots" / "metrics").glob("*.tsv"))
    }
    return _replace(params, folder, tables, _is_plot)


def _table(path: Path, experiment: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{path} can't be read ({why}): take it out, or train {experiment} again.") from None


# What was written here is told by its content: its experiment may have another name by now, or be gone.
def _is_metrics(params: Params, folder: Path, path: Path) -> bool:
    """True for folder/<E>.json with figures; published/<E>.json, say, has the same name."""
    if path.parent != folder or path.suffix != ".json":
        return False
    with suppress(ValueError):
        sets = json.loads(path.read_bytes())
        ours = isinstance(sets, dict) and all(isinstance(each, dict) and "ensemble" in each for each in sets.values())
        return ours and bool(sets)
    return False


def _is_plot(params: Params, folder: Path, path: Path) -> bool:
    """True for folder/<E>/<curve>.tsv with steps; what it is a copy of lies at curves/<E>/plots/metrics/<curve>.tsv."""
    if path.parent.parent != folder or path.parent.is_symlink() or path.suffix != ".tsv":
        return False
    copied = path.parent.name != "metrics" or "metrics" in params.experiments
    return copied and path.read_bytes().startswith(b"step\t" + os.fsencode(path.stem) + b"\n")


Ours = Callable[[Params, Path, Path], bool]


def _written_before(params: Params, folder: Path, ours: Ours) -> list[Path]:
    """The files in a folder, all written here before; raises UserError if something else is there."""
    found = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()] if folder.is_dir() else []
    for path in found:  # a folder of the user's own, or of another stage, named by mistake
        if not ours(params, folder, path):
            raise UserError(
                f"{folder} holds something else, such as {path.relative_to(folder)}: name a folder of its own."
            )
    return found


def _replace(params: Params, folder: Path, files: dict[str, str], ours: Ours) -> list[Path]:
    with _told(folder):
        for path in _written_before(params, folder, ours):
            path.unlink()
            if path.parent != folder:
                with suppress(OSError):  # others are in it
                    path.parent.rmdir()
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): make room there or make it writable.") from None
