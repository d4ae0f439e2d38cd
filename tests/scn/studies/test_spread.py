"""Mean, spread and differences over seeds, on numbers worked out by hand."""

import pytest

from scn.inference.records import Figures
from scn.studies.spread import difference, spread, summary


def test_mean_and_standard_deviation() -> None:
    found = spread([30.0, 30.2, 30.7])
    assert found.n == 3
    assert found.mean == 30.3
    assert found.std == pytest.approx(0.3606, abs=5e-5)  # sqrt((0.09 + 0.01 + 0.16) / 2)


def test_one_seed_has_no_spread() -> None:
    assert spread([30.0]).std is None
    found = difference([30.0], [29.5])
    assert (found.mean, found.low, found.high, found.n, found.clear) == (0.5, None, None, 1, False)


def test_a_difference_is_taken_seed_by_seed() -> None:
    found = difference([30.1, 31.2, 32.3], [30.0, 31.0, 32.0])
    # Differences 0.1, 0.2, 0.3: std 0.1, standard error 0.05774, t of 2 degrees 4.3027
    assert found.mean == 0.2
    assert found.low == pytest.approx(-0.0484, abs=5e-5)
    assert found.high == pytest.approx(0.4484, abs=5e-5)
    assert not found.clear


@pytest.mark.parametrize(("n", "t"), [(2, 12.7062), (5, 2.7764), (20, 2.0930)])
def test_the_interval_is_that_of_students_t(n: int, t: float) -> None:
    ours = [30.0 + (0.1 if i % 2 else -0.1) for i in range(n)]
    found = difference(ours, [30.0] * n)
    assert found.high is not None
    std = (sum((value - sum(ours) / n) ** 2 for value in ours) / (n - 1)) ** 0.5
    assert found.high - found.mean == pytest.approx(t * std / n**0.5, abs=2e-4)


def test_a_clear_difference() -> None:
    assert difference([30.1, 31.11, 32.1], [30.0, 31.0, 32.0]).clear
    assert difference([29.9, 30.89, 31.9], [30.0, 31.0, 32.0]).clear


def test_a_summary_compares_psnr_and_not_ssim() -> None:
    ours = [Figures(psnr=30.0, ssim=0.9), Figures(psnr=31.0, ssim=0.8)]
    theirs = [Figures(psnr=29.0, ssim=0.1), Figures(psnr=29.5, ssim=0.1)]
    found = summary(ours, theirs)
    assert (found.psnr.mean, found.ssim.mean) == (30.5, 0.85)
    assert found.difference is not None
    assert found.difference.mean == 1.25
    assert summary(ours).difference is None
    with pytest.raises(ValueError, match="shorter"):
        summary(ours, theirs[:1])
