"""A proof that Pillow's fixed-point arithmetic moves no pixel at the scales that bicubic_resize leaves to it.

Pillow rounds its coefficients to 22 bits; pillow-simd to as many as leave the largest below 2**15, in 16-bit integers.
Both add exact products and half a unit, and cut off the fraction. If the exact weights are multiples of 1/D, so are
all results. For an odd D no result lies halfway between two integers, nor nearer to there than 1/(2 D): as long as the
error of the coefficients, times 255, is smaller than that, no pixel of any image is rounded another way.

The proof says nothing of what the pixels are, so it holds for mirrored and for repeated edges alike, as long as no
kernel is cut off: the continued image must reach as far as the kernels of all results that see beyond an edge.
"""

from fractions import Fraction
from math import ceil, floor, lcm

import pytest

from scn.imaging.degradation import FIXED_POINT_FACTORS

PILLOW_BITS = 22


def cubic(x: Fraction) -> Fraction:
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x <= 2 else Fraction(0)


def weights(scale: Fraction, pixel: int, first_tap: int | None = None) -> list[Fraction]:
    """Weights of the taps of one pixel of the result; where Pillow cuts off an edge, only those from `first_tap` on."""
    shrinking = min(scale, Fraction(1))
    centre = (pixel + Fraction(1, 2)) / scale - Fraction(1, 2)
    taps = range(floor(centre - 2 / shrinking), ceil(centre + 2 / shrinking) + 1)
    found = [shrinking * cubic(shrinking * (centre - tap)) for tap in taps if first_tap is None or tap >= first_tap]
    return [weight / sum(found) for weight in found]


def first_tap(scale: Fraction, pixel: int) -> int:
    """Position of the first pixel of the line that has a weight in a pixel of the result; below 0: beyond the edge."""
    shrinking = min(scale, Fraction(1))
    centre = (pixel + Fraction(1, 2)) / scale - Fraction(1, 2)
    taps = range(floor(centre - 2 / shrinking), floor(centre) + 1)
    return next(tap for tap in taps if cubic(shrinking * (centre - tap)))


def simd_bits(scale: Fraction) -> int:
    largest = max(weight for pixel in range(40) for weight in weights(scale, pixel, first_tap=0))
    return max(bits for bits in range(PILLOW_BITS + 1) if floor(largest * 2**bits + Fraction(1, 2)) < 2**15)


def is_exact(scale: Fraction, bits: int) -> bool:
    for pixel in range(scale.numerator):  # the weights repeat from there on
        exact = weights(scale, pixel)
        errors = [Fraction(floor(weight * 2**bits + Fraction(1, 2)), 2**bits) - weight for weight in exact]
        reach = 255 * max(sum(e for e in errors if e > 0), -sum(e for e in errors if e < 0))
        denominator = lcm(*(weight.denominator for weight in exact))
        if reach and (denominator % 2 == 0 or reach >= Fraction(1, 2 * denominator)):
            return False
    return True


@pytest.mark.parametrize("factor", FIXED_POINT_FACTORS)
def test_fixed_point_is_exact(factor: int) -> None:
    for scale in (Fraction(factor), Fraction(1, factor)):
        assert is_exact(scale, PILLOW_BITS)
        assert is_exact(scale, simd_bits(scale))


@pytest.mark.parametrize("factor", FIXED_POINT_FACTORS)
def test_a_frame_of_twice_the_reduction_cuts_no_kernel_off(factor: int) -> None:
    """It is the frame of the small image that the outermost 2 * numerator results are taken from."""
    for scale in (Fraction(factor), Fraction(1, factor)):
        seen, reach = 2 * scale.numerator, 2 * scale.denominator
        first = [first_tap(scale, pixel) for pixel in range(2 * seen)]
        assert -reach <= min(first) < 0 <= min(first[seen:])


@pytest.mark.parametrize("factor", [5, 6, 7, 9, 16])
def test_the_proof_can_fail(factor: int) -> None:
    for scale in (Fraction(factor), Fraction(1, factor)):
        assert not is_exact(scale, simd_bits(scale))
