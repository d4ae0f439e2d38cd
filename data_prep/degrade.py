"""Writes the degraded images of an experiment as files under the names of the originals, as in the papers' sets.

Each file holds the input that the experiment's network has in evaluation, made by the functions that shards and
evaluation use:

    sr    the image cropped to a multiple of the scale and reduced; grey stays grey        .png
    car   its luma after JPEG (the decoded pixels)                                         .png
    dn    its grey, where 255 is white, with the noise added: float32, neither rounded     .tif
          nor clipped, the noise being that of evaluation under the image's name
"""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from tqdm import tqdm

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.files import check_local, write_atomically
from scn.corpora.images import decode, room_for_image
from scn.corpora.places import files_below, is_image
from scn.imaging.degradation import degrade, evaluation_noise, modcrop, to_channels

_PNG_COMPRESSION = 1  # the fastest: these files are read more often than sent


@dataclass(frozen=True, kw_only=True)
class Degraded:
    """Result of degrading the images of a folder."""

    written: int
    """Number of images that were written."""
    refused: int
    """Number of images that can't be used and were left out."""
    converted: dict[str, int]
    """Conversion (see scn.corpora.images) -> number of images that went through it."""


def degrade_folder(
    experiment: Experiment, folder: Path, output: Path, *, seed: int = 0, tell: Callable[[str], None]
) -> Degraded:
    """Degrades every image below `folder` into `output`, where files of the same names are replaced.

    Args:
        seed: seed of the noise; 0 for that of the published figures.
        tell: is called with one sentence for each image that can't be used and is left out.
    Raises:
        UserError: before anything is written, if a folder can't be used or two images would get one name; if a file
            can't be written.
    """
    check_local("OUT_DIR", output, "a folder")
    names = _names(folder, output, ".png" if experiment.task.stored else ".tif")
    written, converted = 0, Counter[str]()
    for target, name in tqdm(names.items(), desc="images", unit="image", leave=False, disable=None):
        try:
            with room_for_image(folder / name):
                pixels, conversions = decode(_read(folder / name), folder / name)
                degraded = degrade_image(pixels, experiment, name, seed)
        except UserError as error:
            tell(str(error))
            continue
        except (OSError, ValueError) as error:
            detail = " ".join(str(error).split())
            tell(f"{folder / name} can't be degraded for {experiment.name} ({detail}): take it out of the folder.")
            continue
        write_atomically(output / target, _encoded(degraded))
        converted.update(conversions)
        written += 1
    return Degraded(written=written, refused=len(names) - written, converted=dict(converted))


def degrade_image(
    pixels: NDArray[np.uint8], experiment: Experiment, name: str, seed: int = 0
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Degrades a photograph as in evaluation: the input that the experiment's network is given.

    Args:
        pixels: the photograph, (H, W) or (H, W, 3).
        name: name of the image in its corpus; with `seed` it decides the noise.
    Returns:
        uint8, (h, w) or (h, w, 3); for denoising float32, where 255 is white, unclipped.
    Raises:
        ValueError: if nothing is left of the photograph, or it is larger than a JPEG can be.
    """
    target = modcrop(pixels, experiment.scale)
    if not target.size:
        height, width = pixels.shape[:2]
        raise ValueError(f"of {width}x{height} pixels nothing is left at scale {experiment.scale}")
    if experiment.scale == 1:  # to be measured, a grey photograph stays grey, as in the papers' bicubic rows
        target = to_channels(target, experiment.task.channels)
    degraded = degrade(target, experiment.task, experiment.level, experiment.data.edges)
    return target + evaluation_noise(name, target.shape, experiment.level, seed) if degraded is None else degraded


def _names(folder: Path, output: Path, suffix: str) -> dict[Path, str]:
    """Path in `output` -> name of the image in `folder`, sorted."""
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist: name one with images.")
    inside, outside = sorted((folder.resolve(), output.resolve()), key=lambda path: -len(path.parts))
    if inside.is_relative_to(outside):
        raise UserError(
            f"{output} and {folder} lie in one another: name a folder beside it, so that no original is lost."
        )
    try:
        files = sorted(filter(is_image, files_below(folder)))
    except OSError as error:
        raise UserError(f"The folder {error.filename} can't be read ({error.strerror}): make it readable.") from None
    if not files:
        raise UserError(f"The folder {folder} holds no image: put images there or name another one.")
    names: dict[Path, str] = {}
    for name in files:
        target = Path(name).with_suffix(suffix)
        if target in names:
            raise UserError(f"{names[target]} and {name} in {folder} would both become {target}: rename one of them.")
        names[target] = name
    return names


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): mend it or take it out of the folder.") from None


def _encoded(image: NDArray[np.uint8] | NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    if image.dtype == np.float32:
        Pillow.fromarray(image).save(file, "TIFF")
    else:
        Pillow.fromarray(image).save(file, "PNG", compress_level=_PNG_COMPRESSION)
    return file.getvalue()
