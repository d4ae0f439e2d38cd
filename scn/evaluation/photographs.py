"""Images of a folder or a corpus as an evaluation set: the samples that the shards of the stages would hold."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.corpora.corpora import Corpus, Source, open_images
from scn.corpora.images import decode, room_for_image
from scn.evaluation.protocols import Protocol, protocols_of
from scn.imaging.degradation import bicubic_upscale, degrade, modcrop, to_channels
from scn.imaging.formats import longest_side
from scn.imaging.tasks import Channels
from scn.shards.samples import About, Sample

Image = NDArray[np.uint8]
MOST_TOLD = 10
"""Number of problems that one message tells."""
_GREY, _PALETTE = ("1", "L", "LA", "La"), ("P", "PA")
"""Modes of image files: those whose pixels are grey, and those whose pixels alone tell it."""


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """The images of a set, checked by their headers."""

    experiment: Experiment
    corpus: Corpus
    inputs: Mapping[str, Source] | None = None
    """Name of an image -> the file of its degraded version; None: images are degraded as the task says."""
    inputs_sha256: str | None = None
    """SHA-256 over names and contents of the degraded files."""
    unused: int = 0
    """Number of degraded files that belong to no image."""

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.corpus.images)

    @property
    def targets(self) -> list[Channels]:
        """The channels that the images are measured in: those of the task's protocols that fit all images."""
        rules = protocols_of(self.experiment.task)
        return list(dict.fromkeys(rule.target for rule in rules if not (rule.colour_only and self._grey)))

    @property
    def smallest_side(self) -> int:
        """Returns the shortest side of all images as they are measured, in pixels."""
        scale = self.experiment.scale
        return min(side - side % scale for image in self.corpus.images for side in (image.height, image.width))

    def notes(self) -> list[str]:
        """Returns a sentence for everything about the images that is not as usual."""
        count, scale, told = len(self), self.experiment.scale, list[str]()
        if self.experiment.data.edges != "mirror" and scale > 1 and self.inputs is None:
            told.append("Images are reduced and enlarged by an older imresize (data.edges: replicate).")
        if self.corpus.ignored:
            files = "other files lie" if self.corpus.ignored > 1 else "other file lies"
            told.append(f"{self.corpus.ignored} {files} beside the images, passed over.")
        if cropped := sum(bool(image.height % scale or image.width % scale) for image in self.corpus.images):
            told.append(f"{cropped} of {count} images {_are(cropped)} cropped to multiples of {scale} pixels.")
        if grey := self._grey:
            told.append(f"{grey} of {count} images {_are(grey)} grey and measured at full range.")
        if self.unused:
            files = "files belong" if self.unused > 1 else "file belongs"
            passed = f"of {self.unused + count} of --inputs, and {_are(self.unused)} passed over."
            told.append(f"{self.unused} {files} to no image, {passed}")
        return told

    def left_out(self, rule: Protocol) -> str:
        """Returns a sentence that says why nothing was measured under a protocol of the task."""
        if rule.colour_only and self._grey:
            return f"{rule.name} needs colour in all images, and is left out."
        side = before_crop(rule.smallest_side(self.experiment.scale), self.experiment.scale)
        return f"{rule.name} needs {side}x{side} pixels or more of all images, and is left out."

    def read(self, numbers: Iterable[int], target: Channels) -> Iterator[Sample]:
        """Yields images by their numbers in the order of their names, degraded at the experiment's level.

        Args:
            target: channels of the originals; of `rgb`, grey photographs stay grey.
        Raises:
            UserError: at the first file that is damaged, or whose degraded version does not fit.
        """
        task, level, scale = self.experiment.task, self.experiment.level, self.experiment.scale
        edges = self.experiment.data.edges
        for index in numbers:
            source = self.corpus.images[index]
            with room_for_image(source.path):
                pixels, _ = decode(source.read(), source.path)
                hr = modcrop(pixels, scale)
                if target != "rgb":  # to be measured, a grey photograph stays grey, as in the papers' bicubic rows
                    hr = to_channels(hr, target)
                lr = (
                    degrade(hr, task, level, edges)
                    if self.inputs is None
                    else _input(self.inputs[source.name], source, hr, scale)
                )
                up = bicubic_upscale(lr, scale, edges) if lr is not None and scale > 1 else None
            about = About(name=source.name, sha256=source.sha256, index=index, height=hr.shape[0], width=hr.shape[1])
            yield Sample(about=about, hr=hr, lr=lr, up=up)

    @cached_property
    def _grey(self) -> int:
        """The number of grey images."""
        palettes = (image for image in self.corpus.images if image.mode in _PALETTE)
        grey = sum(decode(image.read(), image.path)[0].ndim == 2 for image in palettes)
        return grey + sum(image.mode in _GREY for image in self.corpus.images)


@dataclass(frozen=True)
class Targets:
    """Photographs with originals of some channels, as scn.evaluation.measuring takes them."""

    photographs: Photographs
    target: Channels
    """As in Photographs.read."""

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.photographs)

    def read(self, numbers: Iterable[int]) -> Iterator[Sample]:
        """Yields images, as Photographs.read does."""
        return self.photographs.read(numbers, self.target)


def open_photographs(params: Params, experiment: Experiment, reference: str, inputs: str | None = None) -> Photographs:
    """Finds the images of a set, hashes them and reads their headers.

    Args:
        reference: NAME or NAME/SPLIT of a corpus of params.yaml or of the catalogue, or a folder, with its sub-folders.
        inputs: folder or corpus with the images' degraded versions, matched by name (docs/protocols.md).
    Raises:
        UserError: if a set is not here, or naming all images that can't be used.
    """
    corpus = open_images(params, reference)
    smallest = before_crop(protocols_of(experiment.task)[0].smallest_side(experiment.scale), experiment.scale)
    longest = longest_side(experiment.task) if inputs is None else None
    problems = []
    for image in corpus.images:
        size = f"{image.path} is {image.width}x{image.height} pixels"
        if image.refusal:
            problems.append(image.refusal)
        elif min(image.height, image.width) < smallest:
            problems.append(
                f"{size}, but {experiment.name} is measured on at least {smallest}x{smallest}: take it out."
            )
        elif longest and max(image.height, image.width) > longest:
            problems.append(f"{size}, and a JPEG's sides have {longest} at most: cut it up or take it out.")
    if inputs is None:
        _tell(problems)
        return Photographs(experiment=experiment, corpus=corpus)
    if not experiment.task.stored:
        raise UserError(
            f"--inputs: the noise of {experiment.name} is made when an image is measured, as 8 bits would cut it off: "
            "leave --inputs out."
        )
    degraded = open_images(params, inputs)
    problems += [image.refusal for image in degraded.images if image.refusal]
    matched = _matched(corpus, degraded, experiment.scale, problems)
    _tell(problems)
    return Photographs(
        experiment=experiment,
        corpus=corpus,
        inputs=matched,
        inputs_sha256=degraded.sha256,
        unused=len(degraded.images) - len(matched),
    )


def before_crop(side: int, scale: int) -> int:
    """The smallest side that is `side` pixels or more once it is cropped to a multiple of `scale`."""
    return -(-side // scale) * scale


def _tell(problems: list[str]) -> None:
    """Raises UserError with all problems, if there are some."""
    if not problems:
        return
    more = [f"... and {len(problems) - MOST_TOLD} more."] if len(problems) > MOST_TOLD else []
    raise UserError("\n".join([*problems[:MOST_TOLD], *more]))


def _matched(images: Corpus, degraded: Corpus, scale: int, problems: list[str]) -> dict[str, Source]:
    """Name of an image -> its degraded version; adds a sentence to `problems` for each image without one."""
    found, taken = dict[str, Source](), dict[str, str]()
    # The same path first; then, whatever the format, the same path and the same name; then what published sets add.
    rules: list[Callable[[str], str]] = [str, _without_suffix, _stem, partial(_plain, scale=scale)]
    tables = [defaultdict[str, list[Source]](list) for _ in rules]
    for source in degraded.images:
        for rule, table in zip(rules, tables, strict=True):
            table[rule(source.name)].append(source)
    for image in images.images:
        candidates = next(filter(None, (t.get(rule(image.name)) for rule, t in zip(rules, tables, strict=True))), [])
        if len(candidates) != 1:
            what = f"{len(candidates)} files" if candidates else "no file"
            problems.append(f"--inputs has {what} for {image.name} (x{scale}): put one of its name there.")
        elif (other := taken.setdefault(candidates[0].name, image.name)) != image.name:
            problems.append(f"--inputs has only {candidates[0].name} for {other} and {image.name}: give one for each.")
        else:
            found[image.name] = candidates[0]
    return found


def _without_suffix(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _plain(name: str, scale: int) -> str:
    """The name without what published sets add to it: baby_HR, baby_LRBI_x2, 0801x2, img_001_SRF_2_LR.

    A number alone is no such mark: img_2 is the second image.
    """
    marks = rf"([_-](HR|LR|GT|LRBI|SRF|bicubic)([_-]?x?{scale})?|[_-]?x{scale})+$"
    return re.sub(marks, "", _stem(name), flags=re.IGNORECASE)


def _input(source: Source, image: Source, hr: Image, scale: int) -> Image:
    """The degraded version of an image; raises UserError if it does not have the size or the channels for it."""
    lr, _ = decode(source.read(), source.path)
    if hr.ndim == 2 and lr.ndim == 3 and (lr == lr[..., :1]).all():
        lr = lr[..., 0]
    expected = (hr.shape[0] // scale, hr.shape[1] // scale, *hr.shape[2:])
    if lr.shape != expected:
        have, need = (f"{shape[1]}x{shape[0]} {'RGB' if len(shape) == 3 else 'grey'}" for shape in (lr.shape, expected))
        raise UserError(f"{source.path} is {have}, but {image.path} needs {need}: give the file that belongs to it.")
    return lr
