"""What Prefect's page shows of a run: its name and tags, the progress of a training, results, and failures.

Nothing here ends a run: what can't be shown is a warning in its log.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_client, get_run_logger, runtime
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from scn.config.params import PARAMS_FILE, load_params
from scn.core.masking import masked
from scn.monitoring.line import ProgressLine, read_line
from scn.registry.summary import Summary, summary
from scn.shards import summary as shards


def name_run(name: str, tags: Sequence[str]) -> None:
    """Gives the flow run of now a name, and further tags."""
    flow_run = runtime.flow_run
    with _shown("The run's name"), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(str(flow_run.id)), name=name, tags=sorted({*flow_run.tags, *tags}))


def key(*parts: str) -> str:
    """The key of an artifact: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


class Progress:
    """The progress of a training as an artifact that is updated in place, from the lines that it prints."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._last: ProgressLine | None = None

    def line_written(self, line: str) -> None:
        """Shows what a line of a stage's output tells of the progress, if it does."""
        if (told := read_line(line)) is not None:
            self._last = told
            words = [f"step {told.step} of {told.steps}", told.psnr, f"{told.left} left" if told.left else ""]
            self._show(told.name, 100 * told.step / max(1, told.steps), ", ".join(filter(None, words)))

    def done(self) -> None:
        """Shows that the training is at its end."""
        if last := self._last:
            self._show(last.name, 100.0, f"all {last.steps} steps")  # the last line's PSNR is an earlier one

    def _show(self, name: str, percent: float, description: str) -> None:
        with _shown("The progress"):
            if self._artifact is None:
                made: Any = create_progress_artifact(percent, key=key("progress", name), description=description)
                self._artifact = made
            else:
                update_progress_artifact(self._artifact, percent, description=description)


def show_results(workspace: Path, experiment: str) -> Summary | None:
    """Makes the artifacts of a published experiment: figures, curves with a picture, and a link to the version.

    Returns:
        what they show; None if it can't be shown.
    """
    with _shown(f"The results of {experiment}"):
        found = summary(load_params(workspace / PARAMS_FILE), experiment)
        table: list[dict[str, Any]] = [dict(row) for row in found.rows]
        create_table_artifact(table, key=key("figures", experiment), description=found.sentence)
        create_markdown_artifact(
            f"## {found.version}\n\n{found.sentence}\n\n{found.markdown}\n",
            key=key("pictures", experiment),
            description=f"Curves of the training of {found.version}, and an image before and after",
        )
        create_link_artifact(
            found.url,
            found.version,
            key=key("version", experiment),
            description=f"{found.version} in the store; `scn models show {found.version}` tells all of it",
        )
        return found
    return None


def show_shards(workspace: Path, experiments: Sequence[str]) -> None:
    """Makes the artifact of the shards of experiments: a table with a row for each set of images."""
    with _shown("The shards"):
        params = load_params(workspace / PARAMS_FILE)
        create_table_artifact(
            [dict(row) for name in experiments for row in shards.rows(params, name)],
            key=key("shards", *experiments),
            description=f"The shards of {', '.join(experiments)} in {masked(params.storage.url)}",
        )


def show_text(key: str, markdown: str, description: str) -> None:
    """Makes an artifact of Markdown."""
    with _shown(f"The text {key}"):
        create_markdown_artifact(masked(markdown), key=key, description=description)


def show_table(rows: str, key: str, description: str) -> None:
    """Makes the artifact of a table whose rows are given as a JSON list."""
    with _shown(f"The table {key}"):
        create_table_artifact(json.loads(rows), key=key, description=description)


def show_failure(stage: str, reason: str, tail: Sequence[str], command: str) -> None:
    """Makes the artifact of a failed stage: its reason, its last lines, and the command that runs it alone."""
    fence = "~" * 4
    lines = "\n".join(tail)
    text = f"## {stage} failed\n\n{reason}\n\n{fence}\n{lines}\n{fence}\n\nAlone:\n\n{fence}\n{command}\n{fence}\n"
    with _shown(f"The failure of {stage}"):
        create_markdown_artifact(masked(text), key=key("failure", stage), description=masked(reason))


@contextmanager
def _shown(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever Prefect's client raises
        get_run_logger().warning(
            "%s can't be shown on Prefect's page (%s): the run goes on.", what, masked(str(error) or repr(error))
        )
