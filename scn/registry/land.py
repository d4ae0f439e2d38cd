"""Landing: a trained model becomes one that ships with the project (scn.zoo)."""

import csv
import io
import shutil
import sys
from pathlib import Path

from scn import zoo
from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import replace_folder, write_atomically
from scn.registry.manifest import MANIFEST
from scn.registry.versions import Version, trained_version

CURVES = "curves.csv"
"""File with the curves of the training, beside the files of a version: a row per step, a column per curve."""


def land(params: Params, name: str) -> list[Path]:
    """Writes the trained and measured model of the experiment `name`, with its curves, as scn/zoo/<name>.

    It replaces what is there.

    Returns:
        the files written, manifest.json last.
    Raises:
        UserError: if the model or its metrics are missing or don't belong together, or the zoo can't be written; the
            zoo is then left as it was.
    """
    version = trained_version(params, name)
    folder = params.root / "curves" / name / "plots" / "metrics"
    if not (curves := _curves(folder)):
        print(f"{folder} has no curves: {name} goes into the zoo without them", file=sys.stderr)
    else:
        version = Version.of(name, {**version.content, CURVES: curves})
    target, new = zoo.FOLDER / name, zoo.FOLDER / f".{name}.new"
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    try:
        for file, data in [*version.content.items(), (MANIFEST, version.manifest)]:
            write_atomically(new / file, data)
        replace_folder(new, target)  # as a whole: files of two versions never lie in one
    except OSError as error:
        raise UserError(f"{target} can't be written ({error.strerror}): give the disk room and write access.") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [target / file for file in (*version.content, MANIFEST)]


def _curves(folder: Path) -> bytes:
    """The curves of a training (FOLDER/<name>.tsv: step and value) as one table; nothing if there are none."""
    names, rows = [], dict[int, dict[str, str]]()
    for path in sorted(folder.glob("*.tsv")):
        names.append(path.stem)
        with path.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                rows.setdefault(int(row["step"]), {})[path.stem] = row[path.stem]
    table = io.StringIO()
    writer = csv.DictWriter(table, ["step", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **rows[step]} for step in sorted(rows))
    return table.getvalue().encode() if rows else b""
