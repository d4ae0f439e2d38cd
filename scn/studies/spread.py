"""Mean, spread and differences over the seeds of a study."""

import math
import statistics
from collections.abc import Iterable, Sequence

from scn.evaluation.protocols import DIGITS
from scn.inference.records import Figures
from scn.studies.records import Difference, SetSummary, Spread

CONFIDENCE = 0.95
"""Probability with which an interval of a mean holds the true one, if seeds differ normally."""


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of the sample (n - 1) of at least one value."""
    std = rounded(statistics.stdev(values)) if len(values) > 1 else None
    return Spread(mean=rounded(statistics.fmean(values)), std=std, n=len(values))


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The mean of ours - theirs, value by value, with its interval: mean -+ t std / sqrt(n), t of n - 1 degrees."""
    from scipy.special import stdtrit

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, n = statistics.fmean(differences), len(differences)
    if n == 1:
        return Difference(mean=rounded(mean), n=1)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(differences) / math.sqrt(n)
    return Difference(mean=rounded(mean), low=rounded(mean - half), high=rounded(mean + half), n=n)


def summary(ours: Iterable[Figures], reference: Iterable[Figures] | None = None) -> SetSummary:
    """The figures of a variant on one set, seed by seed, against those of the reference in the same order."""
    figures = list(ours)
    psnr = [each.psnr for each in figures]
    return SetSummary(
        psnr=spread(psnr),
        ssim=spread([each.ssim for each in figures]),
        difference=None if reference is None else difference(psnr, [each.psnr for each in reference]),
    )


def rounded(figure: float) -> float:
    """Rounds a number of decibels, or a similarity, as figures stand in files."""
    return round(figure, DIGITS)
