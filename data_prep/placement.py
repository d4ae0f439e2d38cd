"""Lays one image over another where features agree, and correlates the two.

Features suspect; the correlation of the pixels decides. It is taken twice: of the images, and of their detail, which is
what is left without a blurred image. Different pictures with like shading may correlate at 0.9, their detail does not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.fingerprints import opencv

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

SIDE = 256
"""Longest side in pixels at which the common part of two images is correlated."""
LEAST_CORRELATION, LEAST_DETAIL = 0.9, 0.6
"""Smallest correlation of two images, and of their detail, that show the same picture (docs/results has both)."""
_SMALLEST = 400  # pixels in common; fewer prove nothing
_BLUR = 3.0  # standard deviation in pixels; what is left by it is detail
_WHOLE = 0.95  # share of an image that is taken for all of it, as frames are lost by a pixel or two


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How a training image lies in an evaluation image."""

    matrix: Matrix
    """(2, 3): pixel (x, y, 1) of the training image -> pixel of the evaluation image, or of its mirror image."""
    mirrored: bool
    """True if it lies in the mirror image."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well two images agree where they lie over each other."""

    correlation: float
    """Normalised cross-correlation of the pixels, -1..1."""
    detail: float
    """Normalised cross-correlation of the detail, -1..1."""
    how: str
    """In a few words, what was done to the one image to get the other."""

    @property
    def same_picture(self) -> bool:
        """Whether both images show the same picture."""
        return self.correlation >= LEAST_CORRELATION and self.detail >= LEAST_DETAIL


def agreement(train: Image, evaluation: Image, placement: Placement) -> Agreement | None:
    """Correlates two images at a placement, which is refined first; None if they have too little in common.

    Args:
        train: uint8 (H, W), grey.
        evaluation: uint8 (H', W'), grey.
    """
    cv2 = opencv()
    if placement.mirrored:
        evaluation = np.ascontiguousarray(evaluation[:, ::-1])
    matrix = np.vstack([placement.matrix, [0, 0, 1]])
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    height, width = train.shape
    corners = matrix @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    left, top = np.maximum(np.floor(corners[:2].min(1)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners[:2].max(1)), np.array(evaluation.shape[::-1]) - 1).astype(int)
    if (right - left) * (bottom - top) * min(1, 1 / scale) ** 2 < _SMALLEST:
        return None
    # Both in the size of the coarser one, or less.
    factor = min(1.0, 1 / scale, SIDE / max(right - left + 1, bottom - top + 1))
    still, into_still = _shrunk(evaluation[top : bottom + 1, left : right + 1], factor)
    moving, into_moving = _shrunk(train, factor * scale)
    corner = np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]])
    warp = into_moving @ np.linalg.inv(matrix) @ corner @ np.linalg.inv(into_still)
    start = warp[:2].astype(np.float32)
    expected = _covered(moving, start, still).sum()
    try:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
        _, refined = cv2.findTransformECC(still, moving, start.copy(), cv2.MOTION_AFFINE, criteria, None, 5)
    except cv2.error:  # it does not converge where there is nothing in common
        refined = start
    if _covered(moving, refined, still).sum() < 0.7 * expected:
        refined = start
    covered = _covered(moving, refined, still)
    if covered.sum() < _SMALLEST:
        return None
    moved = cv2.warpAffine(moving, refined, still.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return Agreement(
        correlation=_correlation(still, moved, covered),
        detail=_correlation(_detail(still, covered), _detail(moved, covered), covered),
        how=_told(placement, scale, covered.sum() / factor**2, train.size * scale**2, evaluation.size),
    )


def _shrunk(image: Image, factor: float) -> tuple[Image, Matrix]:
    """An image reduced by a factor, and the matrix from its pixels to those of the result."""
    height, width = (max(1, round(side * factor)) for side in image.shape)
    x, y = width / image.shape[1], height / image.shape[0]
    into = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])  # a pixel's place is its middle
    return np.asarray(opencv().resize(image, (width, height), interpolation=opencv().INTER_AREA)), into


def _covered(moving: Image, warp: NDArray[np.float32], still: Image) -> NDArray[np.bool_]:
    """Where pixels of `still` are covered by `moving`, whole."""
    cv2 = opencv()
    full, flags = np.full(moving.shape, 255, np.uint8), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(full, warp, still.shape[::-1], flags=flags)) == 255


def _detail(image: Image, covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """An image less a blurred one, to which only covered pixels count."""
    cv2, weight = opencv(), covered.astype(np.float32)
    blurred = cv2.GaussianBlur(image * weight, (0, 0), _BLUR) / np.maximum(
        cv2.GaussianBlur(weight, (0, 0), _BLUR), 1e-3
    )
    return np.asarray(image - blurred, np.float32)


def _correlation(one: NDArray[np.generic], other: NDArray[np.generic], covered: NDArray[np.bool_]) -> float:
    a, b = (image[covered].astype(np.float64) for image in (one, other))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))


def _told(placement: Placement, scale: float, common: float, train: float, evaluation: float) -> str:
    """What was done to an image; areas are in pixels of the evaluation image."""
    words = []
    if common < _WHOLE * evaluation:
        words.append(f"{common / evaluation:.0%} of it")
    elif common < _WHOLE * train:
        words.append("with more around it")
    if placement.mirrored:
        words.append("mirrored")
    turn = round(np.degrees(np.arctan2(placement.matrix[1, 0], placement.matrix[0, 0])) / 90) * 90 % 360
    if turn:
        words.append(f"turned by {turn} degrees")
    if abs(np.log(scale)) > 0.02:
        words.append(f"scaled by {scale:.2f}")
    return ", ".join(words) or "a copy"
