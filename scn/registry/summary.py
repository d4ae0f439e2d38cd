"""What a run made of an experiment, for a page: figures beside the version before, curves and a picture.

Imports no PyTorch: a flow shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.evaluation.page.curve import curve_uri
from scn.evaluation.page.pictures import pictures
from scn.evaluation.results import figures_of
from scn.evaluation.runs import Run, read_curves, read_runs
from scn.inference.records import Metrics, Receipt
from scn.registry.publish import is_there, metrics_of
from scn.registry.rule import differences
from scn.storage.base import StoreError

PICTURE_BYTES = 240_000
"""Bytes that the pictures of an experiment may take."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run published."""

    version: str
    """EXPERIMENT@vN."""
    url: str
    """The version's folder in the store."""
    rows: list[dict[str, str]]
    """A row for each evaluation set: its figures, and their difference to those of the version before."""
    markdown: str
    """Curves and a picture before and after, as Markdown with the pictures in it."""

    @property
    def sentence(self) -> str:
        """The figures in one line: `sr-x2@v2: PSNR 27.40 dB on Set5 (+0.12)`."""
        told = (f"PSNR {row['model'].partition(' /')[0]} dB on {row['set']}{_gain(row)}" for row in self.rows)
        return f"{self.version}: {', '.join(told)}"


def summary(params: Params, experiment: str) -> Summary:
    """Returns what a run made of `experiment`, from what its stages left in the folder of params.yaml.

    Raises:
        UserError: if it was not measured or not published, or a file is damaged.
    """
    run = next((run for run in read_runs(params) if run.name == experiment), None)
    path = params.root / "published" / f"{experiment}.json"
    again = f"run `dvc repro publish@{experiment}`"
    if run is None or not path.is_file():
        raise UserError(f"{experiment} is not measured and published in {params.root}: {again}.")
    receipt = Receipt.loads(path.read_bytes(), path, again)
    figures = figures_of(run.evaluation)
    earlier = _before(params, receipt)
    gains = {each.set_name: each.gain for each in differences(earlier[1], figures)} if earlier else {}
    rows = [
        {
            "set": name,
            "images": str(figures.provenance.images[name]),
            "input": str(of_set.input),
            "model": str(of_set.model),
            "self-ensemble": str(of_set.ensemble),
            **({f"gain on {earlier[0]}": f"{gains[name]:+.2f} dB" if name in gains else ""} if earlier else {}),
        }
        for name, of_set in figures.sets.items()
    ]
    return Summary(
        version=f"{experiment}@{receipt.version}",
        url=receipt.url,
        rows=rows,
        markdown="\n\n".join([*_curves(params.root, experiment), *_picture(params.root, run)]),
    )


def _before(params: Params, receipt: Receipt) -> tuple[str, Metrics] | None:
    """The newest whole version before the one of a receipt, and its figures; None if there is none.

    One whose figures nobody vouches for is passed over, as those are that were published before keys were trusted.
    """
    store, experiment = params.open_store(), receipt.experiment
    for number in range(int(receipt.version[1:]) - 1, 0, -1):
        version = f"v{number}"
        if is_there(store, experiment, version):
            try:
                return version, metrics_of(store, experiment, version, params.registry.trusted)
            except StoreError:
                raise
            except UserError:
                continue
    return None


def _curves(root: Path, experiment: str) -> Iterator[str]:
    curves = read_curves(root / "curves" / experiment / "plots" / "metrics")
    for name, curve in curves.items():
        if name == "loss" or name.startswith("psnr_"):
            title = name.replace("psnr_", "PSNR of ") + (" [dB]" if name != "loss" else "")
            if uri := curve_uri(title, curve, log=name == "loss"):
                yield f"![{title} over the steps]({uri})"


def _picture(root: Path, run: Run) -> Iterator[str]:
    """The image where the model gains most: a part of it, and the whole, before and after."""
    for (_, set_name), (shown, *_) in pictures(root, [run], PICTURE_BYTES).items():
        names = " | ".join(f"{crop.picture}{f', {crop.psnr:.2f} dB' if crop.psnr else ''}" for crop in shown.crops)
        crops = " | ".join(f"![{crop.picture}]({crop.uri})" for crop in shown.crops)
        yield f"**{shown.name}** of {set_name}, where the model gains {shown.gain:+.2f} dB"
        yield f"| {names} |\n|{' --- |' * len(shown.crops)}\n| {crops} |"
        yield f"| before | after |\n| --- | --- |\n| ![before]({shown.before}) | ![after]({shown.after}) |"
        return


def _gain(row: dict[str, str]) -> str:
    gain = next((value for key, value in row.items() if key.startswith("gain on ")), "")
    return f" ({gain.removesuffix(' dB')})" if gain else ""
