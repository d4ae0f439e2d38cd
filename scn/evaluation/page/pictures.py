"""The pictures of the report, as JPEG in data URIs, within a budget of bytes."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from scn.core.errors import UserError
from scn.evaluation.results import ImageResult, Picture, SetResult, gain, picture_file
from scn.evaluation.runs import Run

BUDGET = 8_000_000
"""Bytes that all pictures of a report may take in the file."""
ENOUGH = 60_000
"""Bytes that an image is to have: where there are fewer, fewer images are shown."""
CROP = 96
"""Side in pixels of a crop."""
RUNGS = ((1200, 90), (960, 84), (720, 78), (560, 70), (420, 62), (320, 50), (200, 40))
"""Longest side in pixels and JPEG quality of the whole pictures, the best first."""
FACTORS = (2, 4, 8, 16, 32)
"""Factors that a difference may be amplified by."""
METHODS: tuple[Picture, ...] = ("truth", "input", "model", "ensemble")

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A part of a picture."""

    picture: Picture
    uri: str
    psnr: float | None
    """PSNR of the whole picture in dB, from the figures; None for the truth."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image of an evaluation set as the report shows it."""

    name: str
    gains_most: bool
    """True: it is one of those where the model gains most; False: least."""
    gain: float
    protocol: str
    """The protocol of the gain and of the crops' PSNR: the task's first, which chose the images."""
    height: int
    width: int
    place: tuple[int, int, int, int]
    """Left, top, width and height of the crops in the image, in pixels."""
    crops: Sequence[Crop]
    before: str
    """The whole degraded image."""
    after: str
    """The whole result of the model."""
    difference: str
    """The distance between model and truth, amplified."""
    factor: int
    """What the difference is multiplied by."""

    @property
    def bytes(self) -> int:
        """Returns the size of the pictures in the file."""
        return sum(map(len, (self.before, self.after, self.difference, *(crop.uri for crop in self.crops))))


def pictures(root: Path, runs: Sequence[Run], budget: int = BUDGET) -> dict[tuple[str, str], list[Shown]]:
    """Returns the pictures of the images where each model gains most and least; what has no pictures is left out.

    Each image gets an equal share of the bytes that those before it left, and with it the largest size and quality
    that fit.

    Args:
        root: the folder of params.yaml.
        budget: bytes of all pictures in the file.
    Returns:
        run and evaluation set -> its images.
    Raises:
        UserError: if a picture can't be read.
    """
    for each in (2, 1):
        todo = [
            (run, set_name, image, gains_most)
            for run in runs
            for set_name, result in run.evaluation.sets.items()
            for image, gains_most in _ends(result, each)
            if all(picture_file(root, run.name, set_name, image.name, kind).is_file() for kind in METHODS[:3])
        ]
        if budget >= ENOUGH * len(todo):
            break
    found: dict[tuple[str, str], list[Shown]] = {}
    for number, (run, set_name, image, gains_most) in enumerate(todo):
        shown = _shown(root, run, set_name, image, gains_most, budget // (len(todo) - number))
        if shown:
            found.setdefault((run.name, set_name), []).append(shown)
            budget -= shown.bytes
    return found


def place_of(
    truth: Image, before: Image, after: Image, *, gains_most: bool, side: int = CROP
) -> tuple[int, int, int, int]:
    """Returns where crops of an image show most: left, top, width and height in pixels.

    Where the model gains most, that is where the squared errors of the degraded image and of the result differ most;
    where it gains least, where the result's own are largest, which is where it fails.

    Args:
        side: side of the square, unless the image is smaller.
    """
    squared = [np.square(_grey(picture) - _grey(truth)) for picture in (before, after)]
    errors = squared[0] - squared[1] if gains_most else squared[1]
    height, width = min(side, truth.shape[0]), min(side, truth.shape[1])
    sums = np.pad(errors, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.abs(boxes).argmax()), boxes.shape)
    return int(left), int(top), width, height


def difference_map(truth: Image, after: Image) -> tuple[Image, int]:
    """Returns the distance of two images, amplified, as a grey image, and the factor: the largest of FACTORS that
    leaves all but 0.5 % of the pixels below white."""
    distance = np.abs(_grey(after) - _grey(truth))
    most = max(float(np.quantile(distance, 0.995)), 1e-6)
    factor = max((factor for factor in FACTORS if factor * most <= 255), default=FACTORS[0])
    return np.clip(np.rint(distance * factor), 0, 255).astype(np.uint8), factor


def jpeg(image: Image, quality: int, longest: int | None = None) -> str:
    """Returns an image (H, W) or (H, W, 3) as the data URI of a JPEG file, made smaller where a side is longer than
    `longest` pixels."""
    picture = Pillow.fromarray(image)
    if longest and max(picture.size) > longest:
        picture.thumbnail((longest, longest), Pillow.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _ends(result: SetResult, each: int) -> Iterator[tuple[ImageResult, bool]]:
    """The images with pictures, `each` of both ends, and whether the model gains most there."""
    by_name = {image.name: image for image in result.images}
    for names, gains_most in ((result.most, True), (result.least, False)):
        yield from ((by_name[name], gains_most) for name in names[:each] if name in by_name)


def _shown(root: Path, run: Run, set_name: str, image: ImageResult, gains_most: bool, allowance: int) -> Shown | None:
    """An image with pictures of at most `allowance` bytes; None if even the smallest are larger."""
    files = {kind: picture_file(root, run.name, set_name, image.name, kind) for kind in METHODS}
    pixels = {kind: _read(path, run.name) for kind, path in files.items() if path.is_file()}
    truth, before, after = (pixels[kind] for kind in METHODS[:3])
    left, top, width, height = place = place_of(truth, before, after, gains_most=gains_most)
    distance, factor = difference_map(truth, after)
    protocol, figures = next(iter(image.figures.items()))  # the task's first, which the order of the images is by
    for longest, quality in RUNGS:
        crops = [
            Crop(
                picture=kind,
                uri=jpeg(picture[top : top + height, left : left + width], min(95, quality + 10)),
                psnr=figures[kind].psnr if kind in figures else None,
            )
            for kind, picture in pixels.items()
        ]
        shown = Shown(
            name=image.name,
            gains_most=gains_most,
            gain=gain(image, protocol),
            protocol=protocol,
            height=truth.shape[0],
            width=truth.shape[1],
            place=place,
            crops=crops,
            before=jpeg(before, quality, longest),
            after=jpeg(after, quality, longest),
            difference=jpeg(distance, min(80, quality), longest * 2 // 3),
            factor=factor,
        )
        if shown.bytes <= allowance:
            return shown
    return None


def _read(path: Path, experiment: str) -> Image:
    try:
        with Pillow.open(path) as picture:
            return np.asarray(picture.convert("L" if picture.mode == "L" else "RGB"))
    except OSError as error:
        raise UserError(
            f"{path} can't be read as a picture ({error}): run `dvc repro --force evaluate@{experiment}`."
        ) from None


def _grey(image: Image) -> NDArray[np.float64]:
    values = image.astype(np.float64)
    return values.mean(axis=2) if values.ndim == 3 else values
