"""Restores one file for the page, and knows how long that takes."""

import io
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from scn.config.params import PARAMS_FILE
from scn.core.errors import UserError, short
from scn.core.masking import masked
from scn.imaging.formats import FORMATS, Format, check_can, format_of, looks_like_an_image, named
from scn.imaging.image_io import Photograph, check_holds, decode_photograph, encode_photograph, lost, size_of
from scn.inference.auto import AUTO
from scn.inference.chain import check_factor, total_scale
from scn.inference.handle import Model
from scn.inference.restore import Chroma, Options
from scn.registry.following import FollowingModels
from scn.registry.reference import ModelEntry, list_models
from scn.registry.several import Models
from scn.storage.base import ObjectNotFound, StoreError

LARGEST_TILE = 512
"""Side of the largest parts that an image is restored in: progress is seen, and a cancel is heeded, after each."""
_TRIED = 96
"""Side of the image that the rate of a model is first measured with."""

Progress = Callable[[float], object]
"""Is called with the part that is done, 0..1; may raise to end the work."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to become of a photograph."""

    name: str
    """The file's name, for its result and for messages."""
    reference: str = AUTO
    """Names of models as `scn restore --model` takes them, but no folders; "" with a factor: the nearest one."""
    factor: float | None = None
    """Enlarge by it, 1.5 to 16, whatever the models' scale; None: what the models give."""
    strength: float = 1.0
    self_ensemble: bool = False
    chroma: Chroma = "restore"
    as_format: str = "png"
    """The result's format, a name of scn.imaging.formats; "same": that of the photograph."""
    quality: int | None = None
    """Of a lossy format, 1..100; None: scn.imaging.formats has it. Others have none, and lose nothing."""

    def check(self) -> None:
        """Raises UserError for a value that can't be."""
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength: {self.strength:g} is out of range: give 0 to 1.")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UserError(f"quality: {self.quality} is out of range: give 1 to 100.")
        self.exact_factor()
        if not self.reference and self.factor is None:
            raise UserError("Name a model, or a factor to enlarge by.")
        check_can(self.format(), self.result_name)

    def exact_factor(self) -> Fraction | None:
        """The factor as it was typed. Raises UserError if it is out of range."""
        return None if self.factor is None else check_factor(self.factor, "factor")

    def format(self) -> Format:
        """The result's format."""
        if self.as_format != "same":
            return named(self.as_format)
        return format_of(Path(self.name)) if looks_like_an_image(Path(self.name)) else FORMATS["png"]

    @property
    def result_name(self) -> str:
        """The name of the result's file, of 255 bytes at most, as file systems have it."""
        ending = f"-restored{self.format().suffixes[0]}"
        return Path(self.name).stem.encode()[: 255 - len(ending)].decode(errors="ignore") + ending


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A restored photograph, as the contents of files."""

    result: bytes
    """In the format that was asked for."""
    before: bytes
    """The photograph as a browser shows it: upright, as PNG of 8 bits."""
    after: bytes
    """The result in the same way."""
    width: int
    height: int
    """Pixels of the result."""
    by: str
    """The models, with versions."""
    found: str
    """What `auto` found, and what was converted; "" if there is nothing to tell."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the start of an image file says."""

    width: int
    height: int


def header(path: Path, name: str) -> Header:
    """Reads the size of an image without decoding it. Raises UserError if it is none that can be read."""
    width, height = size_of(path, name)
    return Header(width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What the pixels of a photograph are multiplied by."""

    result: Fraction
    """For the result."""
    largest: Fraction
    """For the largest image on the way to it: models may enlarge by more than was asked for, which is then reduced."""


class Restorer:
    """Models on one device, and how many seconds they take for a megapixel."""

    def __init__(
        self, device: str | None = None, params_file: Path | str = PARAMS_FILE, *, models: Models | None = None
    ) -> None:
        self.models = models or FollowingModels(device, params_file)
        self.params_file = params_file
        self.rates: dict[str, float] = {}
        """Reference of one model -> seconds for a megapixel of a colour photograph; of those that have run."""

    def check(self, wanted: Wanted) -> Growth:
        """Loads what is wanted, and tells how large the result will be.

        Raises:
            UserError: if there is no such model, or another value can't be.
        """
        wanted.check()
        self._check_models(wanted.reference)
        reference = self.reference(wanted)
        self._check_models(reference)
        scale = self._scale(reference)
        factor = wanted.exact_factor() or Fraction(scale)
        return Growth(result=factor**2, largest=max(factor, Fraction(scale)) ** 2)

    def reference(self, wanted: Wanted) -> str:
        """The models of a wish, see scn.registry.several.Models.wanted. Raises UserError as `check`."""
        self._loaded(wanted.reference)
        return self.models.wanted(wanted.reference, wanted.factor)

    def restore(self, data: bytes, wanted: Wanted, progress: Progress) -> Restored:
        """Restores the content of an image file.

        Raises:
            scn.inference.batch.NothingToRestore: if `auto` finds nothing.
            UserError: if it can't be restored.
        """
        photograph, kind = decode_photograph(data, wanted.name), wanted.format()
        reference = self.reference(wanted)
        factor = wanted.exact_factor()
        grown = _grown(photograph, factor or self._scale(reference))
        check_holds(kind, grown, wanted.name)  # before minutes of work
        found: list[str] = list(photograph.notes)
        pixels = photograph.pixels.shape[0] * photograph.pixels.shape[1]
        counted = 0

        def done(more: int) -> None:
            nonlocal counted
            counted += more
            progress(min(1.0, counted / pixels))

        options = Options(
            largest_tile=LARGEST_TILE,
            self_ensemble=wanted.self_ensemble,
            chroma=wanted.chroma,
            strength=wanted.strength,
        )
        start = time.perf_counter()
        chosen = self.models.choose(reference, photograph, name=wanted.name, told=found.append)
        for each in chosen:  # `auto` may have taken one that nobody has loaded yet
            self._load(each.reference)
        restored, by = self.models.restore_chosen(
            chosen, photograph, options, factor=factor, name=wanted.name, done=done
        )
        plain = not wanted.self_ensemble and wanted.chroma == "restore"
        usual = plain and pixels >= _TRIED**2 and photograph.pixels.shape[-1] == 3  # as `measure` does it
        if len(self.models.parts(reference)) == 1 and usual:
            self._learn(reference, (time.perf_counter() - start) / pixels * 1e6)
        found += lost(kind, restored)
        return Restored(
            result=encode_photograph(restored, kind, wanted.name, wanted.quality),
            before=_shown(photograph),
            after=_shown(restored),
            width=restored.pixels.shape[1],
            height=restored.pixels.shape[0],
            by=by,
            found="; ".join(found),
        )

    def measure(self, reference: str) -> None:
        """Measures the rate of one model, if it has not run yet."""
        if reference in self.rates:
            return
        tried = np.random.default_rng(0).integers(0, 256, (_TRIED, _TRIED, 3), np.uint8)
        model, options = self.models.load(reference), Options(largest_tile=LARGEST_TILE)
        photograph = Photograph(pixels=tried, alpha=None, icc_profile=None)
        seconds = []
        for _ in range(2):  # the first one prepares
            start = time.perf_counter()
            model.restore_photograph(photograph, options=options)
            seconds.append(time.perf_counter() - start)
        self.rates[reference] = seconds[-1] / _TRIED**2 * 1e6

    def seconds(self, wanted: Wanted, pixels: int) -> float | None:
        """How long a photograph of so many pixels will take; None while that is not known.

        With `auto` at most, by the models whose rate is known: one may have been published since rates were measured.
        """
        references = self.models.parts(self.reference(wanted))
        total, size = 0.0, float(pixels)
        for each in references:
            known = [rate for one in self._choices(each) if (rate := self._rate(one, wanted)) is not None]
            if not known:
                return None
            total += max(known) * size / 1e6
            size *= 1 if each == AUTO else self.models.load(each).scale ** 2
        return total * (8 if wanted.self_ensemble else 1)

    def _check_models(self, reference: str) -> None:
        """Loads what a reference names. Raises UserError if it is not listed, or as `_load`."""
        for each in self.models.parts(reference) if reference else []:
            if each == AUTO:
                continue
            if each not in self.models.loaded:
                check_listed(each, list_models(params_file=self.params_file))
            self._load(each)

    def _load(self, reference: str) -> Model:
        """A model by its reference. Raises UserError as `not_loaded` tells it."""
        try:
            return self.models.load(reference)
        except UserError as error:
            raise not_loaded(reference, error) from None

    def _loaded(self, reference: str) -> list[Model]:
        return [self._load(each) for each in self.models.parts(reference) if each != AUTO] if reference else []

    def _scale(self, reference: str) -> int:
        return total_scale(self._loaded(reference))

    def _choices(self, reference: str) -> list[str]:
        return [each.reference for each in self.models.candidates()] if reference == AUTO else [reference]

    def _rate(self, reference: str, wanted: Wanted) -> float | None:
        rate = self.rates.get(reference)
        luma_only = wanted.chroma == "keep" and self.models.load(reference).task.on_colour == "each"
        return rate / 3 if rate and luma_only else rate

    def _learn(self, reference: str, rate: float) -> None:
        if reference != AUTO:
            before = self.rates.get(reference, rate)
            self.rates[reference] = (before + rate) / 2


def not_loaded(reference: str, error: UserError) -> UserError:
    """What a stranger may hear of a model that can't be loaded; why goes to the log, as it names places.

    A store that is away is no fault of the model: that StoreError is returned, and told as scn.serving.jobs.AWAY.
    """
    if isinstance(error, StoreError) and not isinstance(error, ObjectNotFound):
        return error
    print(masked(f"{reference}: {error}"), file=sys.stderr)
    return UserError(f"model: {reference} can't be loaded here: choose another.")


def check_listed(reference: str, entries: Sequence[ModelEntry]) -> None:
    """Raises UserError unless a reference such as `dn-s25@v1` names one of these models."""
    name, at, version = reference.partition("@")
    named = [entry for entry in entries if entry.name == name]
    if not named:
        listed = ", ".join(dict.fromkeys(entry.name for entry in entries))
        raise UserError(f"model: '{short(reference)}' is none of {listed}: GET /api/about lists them.")
    versions = [entry.version for entry in named if entry.version] + [each for entry in named for each in entry.names]
    if at and version not in versions:
        advice = f"use one of {', '.join(versions)}" if versions else f"leave @{short(version)} out"
        raise UserError(f"model: {name} has no version '{short(version)}': {advice}.")


def _grown(photograph: Photograph, factor: Fraction | int) -> Photograph:
    """Stands for a result of this size, in place of which it takes no memory."""
    height, width, channels = photograph.pixels.shape
    shape = (math.ceil(height * factor), math.ceil(width * factor), channels)
    pixels: Any = np.broadcast_to(photograph.pixels[:1, :1], shape)
    return replace(photograph, pixels=pixels)


def _shown(photograph: Photograph) -> bytes:
    encoded = io.BytesIO()
    image = photograph.image()
    image.save(encoded, "PNG", compress_level=1, icc_profile=photograph.icc_profile)
    return encoded.getvalue()
