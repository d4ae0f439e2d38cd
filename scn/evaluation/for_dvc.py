"""Tables for `dvc metrics` and `dvc plots`: one file for each experiment that was measured, figures alone.

DVC reads a folder as it is, and so has nothing to say of experiments that were not made; a file for each of the ten
in dvc.yaml it would miss.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.evaluation.results import Evaluation, figures_of, result_file


def write_metrics(params: Params, folder: Path) -> list[Path]:
    """Writes folder/<E>.json for each experiment that was measured, in place of what is there.

    A file holds, for each evaluation set, the figures of input, model and ensemble under the task's first protocol:
    `dvc metrics show` makes a column of each.

    Returns:
        the files, in the order of params.yaml.
    Raises:
        UserError: if figures or the folder can't be read or written, or the folder holds files of another kind.
    """
    figures = {}
    for name in params.experiments:
        path = result_file(params.root, name, "ensemble")
        if path.is_file():
            evaluation = Evaluation.loads(path.read_bytes(), path, f"run `dvc repro ensemble@{name}`")
            figures[f"{name}.json"] = json.dumps(figures_of(evaluation).for_dvc(), indent=1) + "\n"
    return _replace(folder, figures)


def write_plots(params: Params, folder: Path) -> list[Path]:
    """Writes folder/<E>/<curve>.tsv for each experiment that has curves of its training, in place of what is there.

    Each has a column `step` and one of the curve's name (loss, learning_rate, psnr-..., see docs/training.md).

    Returns:
        the files, in the order of params.yaml.
    Raises:
        UserError: if the folder can't be written, or holds files of another kind.
    """
    tables = {
        f"{name}/{path.name}": path.read_text()
        for name in params.experiments
        for path in sorted((params.root / "curves" / name / "plots" / "metrics").glob("*.tsv"))
    }
    return _replace(folder, tables)


def _replace(folder: Path, files: dict[str, str]) -> list[Path]:
    with _told(folder):
        if folder.is_dir():
            strange = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".json", ".tsv")]
            if strange:  # a folder of the user's own, named by mistake
                raise UserError(f"{folder} holds other files, such as {strange[0].name}: name a folder of its own.")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
    return [folder / name for name in files]


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): make room there or make it writable.") from None
