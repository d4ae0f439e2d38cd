"""The models that ship, checked: their files by hash, and their figures by measuring them again from the weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scn import zoo
from scn.config.params import Params
from scn.core.errors import UserError
from scn.evaluation.compare import Options, compare
from scn.inference.handle import Model
from scn.inference.model_config import METRICS
from scn.inference.records import Figures, Metrics
from scn.registry.versions import read_version

PSNR_DIGITS, SSIM_DIGITS = 3, 4
"""Decimals in which the figures must agree; other kinds of processors round the network's sums otherwise."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Figures of one model that ships on one evaluation set, as they are kept and as they are found."""

    name: str
    set: str
    self_ensemble: bool
    kept: Figures
    found: Figures

    @property
    def agrees(self) -> bool:
        """True if PSNR and SSIM are the same in all but the last decimal of each."""
        psnr, ssim = abs(self.kept.psnr - self.found.psnr), abs(self.kept.ssim - self.found.ssim)
        return psnr < 1.5 * 10**-PSNR_DIGITS and ssim < 1.5 * 10**-SSIM_DIGITS

    def cells(self) -> tuple[str, ...]:
        """Returns the row of a table: model, set, and both figures in as many decimals as are compared."""
        title = f"{self.name}, self-ensemble" if self.self_ensemble else self.name
        pairs = [f"{f.psnr:.{PSNR_DIGITS}f} / {f.ssim:.{SSIM_DIGITS}f}" for f in (self.kept, self.found)]
        return title, self.set, *pairs, "yes" if self.agrees else "NO"


HEADER = ("model", "evaluation set", "kept", "measured now", "the same")


def check_shipped(
    params: Params, names: Sequence[str] = (), sets: Sequence[str] = (), *, self_ensemble: bool = False
) -> Iterator[Checked]:
    """Measures models that ship on the sets that their figures are of.

    Args:
        names: models that ship; empty: all.
        sets: only these of their evaluation sets; empty: all.
        self_ensemble: the figures with self-ensemble are measured, too, which takes eight times as long.
    Yields:
        what was kept and found, by model and set.
    Raises:
        UserError: if no such model ships, a file is damaged, a set is not here, or nothing is to be measured.
    """
    if unknown := set(names) - set(zoo.names()):
        raise UserError(f"{sorted(unknown)[0]} does not ship: name one of {', '.join(zoo.names()) or 'none, yet'}.")
    measured = dict[str, Metrics]()
    for name in names or zoo.names():
        folder = zoo.FOLDER / name
        read_version(folder)
        metrics = Metrics.loads((folder / METRICS).read_bytes(), folder / METRICS, "install the project again")
        precision = params.experiment(name).evaluate.precision
        if metrics.provenance.precision not in (None, precision):
            raise UserError(
                f"{params.path}: evaluate.precision of {name} is {precision}, but its figures were measured in "
                f"{metrics.provenance.precision}: set it to that."
            )
        measured[name] = metrics
    if unmeasured := set(sets).difference(*(metrics.sets for metrics in measured.values())):
        raise UserError(f"--set: none of {', '.join(measured)} was measured on {sorted(unmeasured)[0]}: name another.")
    for name, metrics in measured.items():
        for of_set, kept in metrics.sets.items():
            if sets and of_set not in sets:
                continue
            for ensemble in (False, True) if self_ensemble else (False,):
                [found] = compare(
                    params,
                    experiments=[name],
                    sets=[of_set],
                    methods=[str(zoo.FOLDER / name)],
                    load=lambda folder: Model(Path(folder)),
                    options=Options(self_ensemble=ensemble),
                )
                yield Checked(
                    name=name,
                    set=of_set,
                    self_ensemble=ensemble,
                    kept=kept.ensemble if ensemble else kept.model,
                    found=found.mean,
                )
