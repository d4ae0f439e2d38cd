"""The models that a reference names, one after the other; `auto`, the first, is chosen for each photograph."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, overload

from PIL import Image

from scn.config.params import PARAMS_FILE
from scn.core.errors import UserError, short
from scn.imaging.image_io import Photograph
from scn.inference.arrays import Array, of_any_kind
from scn.inference.auto import AUTO, Candidate, Choice, choose, examine
from scn.inference.batch import NothingToRestore
from scn.inference.chain import check_factor, restore_by, total_scale
from scn.inference.handle import Model
from scn.inference.model_config import CONFIG, WEIGHTS
from scn.inference.restore import Done, Options, check_size
from scn.registry.reference import find, list_models, nearest

Told = Callable[[str], object]
"""Is called with what `auto` has found and taken: "JPEG of quality 21: car-q20"."""

_LONGEST = 8
"""Most models, one after the other; a server asks each for its scale before it knows how large the result will be."""


class Models:
    """Models by reference, each loaded once."""

    def __init__(
        self, device: str | None = None, params_file: Path | str = PARAMS_FILE, *, folders: bool = True
    ) -> None:
        """Loads nothing yet.

        Args:
            device: where they compute; None: a GPU if there is one.
            params_file: says where the registry is, as for scn.registry.reference.load.
            folders: a reference may be a folder, as for scn.registry.reference.find.
        """
        self.device, self.params_file, self.folders = device, params_file, folders
        self.loaded: dict[str, Model] = {}
        self._candidates: list[Candidate] | None = None

    def load(self, reference: str) -> Model:
        """The model of one reference. Raises UserError as scn.registry.reference.load."""
        if reference not in self.loaded:
            self.loaded[reference] = self.found(reference)
        return self.loaded[reference]

    def found(self, reference: str) -> Model:
        """The model that a reference names now, loaded anew. Raises UserError as scn.registry.reference.load."""
        folder, version = find(reference, self.params_file, folders=self.folders)
        return Model(folder, self.device, version=version)

    def parts(self, reference: str) -> list[str]:
        """As `parts`, for the folders that may be named here."""
        return parts(reference, folders=self.folders)

    def check(self, reference: str) -> None:
        """Loads what a reference names, which may be nothing. Raises UserError as scn.registry.reference.load."""
        for each in self.parts(reference) if reference else []:
            if each != AUTO:
                self.load(each)

    def names(self, reference: str) -> str:
        """The names of its models for a person, with versions of those that are loaded."""
        return ", ".join(named(each, self.loaded.get(each)) for each in self.parts(reference))

    def wanted(self, reference: str, factor: float | None) -> str:
        """What a reference and a factor to enlarge by ask for.

        Where none of the models enlarges, the one for super-resolution whose scale is nearest to the factor comes last.

        Raises:
            UserError: if there is no such model.
        """
        if factor is None:
            return reference
        named = [self.load(each) for each in self.parts(reference) if each != AUTO] if reference else []
        if total_scale(named) > 1:
            return reference
        last = nearest(factor, params_file=self.params_file)
        return f"{reference},{last}" if reference else last

    def choose(
        self,
        reference: str,
        photograph: Photograph,
        *,
        name: str = "the image",
        told: Told = lambda found: None,
    ) -> list[Choice]:
        """What restores a photograph, which errors call `name`, the first one first.

        Raises:
            NothingToRestore: if `auto` finds nothing, and no other model is named.
            UserError: as `parts`; or if the photograph is too small for `auto`.
        """
        references = self.parts(reference)
        others = [Choice(reference=each) for each in references if each != AUTO]
        if references[0] != AUTO:
            return others
        height, width, _ = photograph.pixels.shape
        check_size(width, height, name)
        finding = examine(photograph)
        fits = choose(finding, self.candidates())
        if fits is None and not others:
            raise NothingToRestore(f"{finding}: nothing to restore")
        told(f"{finding}: {fits or 'nothing to restore'}")
        return [fits, *others] if fits else others

    def restore(
        self,
        reference: str,
        photograph: Photograph,
        options: Options,
        *,
        factor: Fraction | None = None,
        name: str = "the image",
        done: Done = lambda pixels: None,
        told: Told = lambda found: None,
    ) -> tuple[Photograph, str]:
        """Restores a photograph by what a reference names, see scn.inference.chain.restore_by.

        Returns:
            the result, and the names of what made it, with versions.
        Raises:
            NothingToRestore: if `auto` finds nothing, and there is no factor to enlarge by.
            UserError: as restore_by.
        """
        chosen = self.choose(reference, photograph, name=name, told=told)
        return self.restore_chosen(chosen, photograph, options, factor=factor, name=name, done=done)

    def restore_chosen(
        self,
        chosen: Sequence[Choice],
        photograph: Photograph,
        options: Options,
        *,
        factor: Fraction | None = None,
        name: str = "the image",
        done: Done = lambda pixels: None,
    ) -> tuple[Photograph, str]:
        """Restores a photograph by what was chosen for it, as `restore`."""
        models = [self.load(each.reference) for each in chosen]
        restored = restore_by(
            models,
            photograph,
            options,
            strengths=[each.strength for each in chosen],
            factor=factor,
            name=name,
            done=done,
        )
        names = [named(each.reference, model) for each, model in zip(chosen, models, strict=True)]
        return restored, ", ".join(names) or "bicubic interpolation"

    def packed(self, reference: str) -> "Packed":
        """All that a reference needs, to be unpacked on another machine: the versions that `load` gives here.

        Raises:
            UserError: as `check`.
        """
        references = [each for each in self.parts(reference) if each != AUTO]
        candidates = self.candidates() if AUTO in self.parts(reference) else []
        files = {}
        for each in {*references, *(candidate.reference for candidate in candidates)}:
            model = self.load(each)
            folder = model.folder
            if model.version:  # fetched again, should it have been cleaned away
                folder, _ = find(named(each, model), self.params_file, folders=False)
            files[each] = (model.version, {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)})
        return Packed(files=files, candidates=candidates)

    def candidates(self) -> list[Candidate]:
        """The models that `auto` chooses from. Raises UserError if there are none."""
        if self._candidates is None:
            self._candidates = self._listed()
        if not self._candidates:
            raise UserError("There is no model for noise or JPEG to choose from: name one.")
        return self._candidates

    def _listed(self) -> list[Candidate]:
        """The models for noise and JPEG that the registry has now, by name."""
        listed = list_models(params_file=self.params_file)
        entries = {entry.name: entry for entry in listed if entry.level is not None}
        return [
            Candidate(reference=entry.name, task=entry.task, level=entry.level or 0)
            for entry in entries.values()
            if entry.task in ("dn", "car")
        ]


@overload
def restore(image: Array, model: Model | str | Path = AUTO, *, scale: float | None = None) -> Array: ...
@overload
def restore(
    image: Image.Image | str | Path, model: Model | str | Path = AUTO, *, scale: float | None = None
) -> Image.Image: ...
def restore(image: Any, model: Model | str | Path = AUTO, *, scale: float | None = None) -> Any:
    """Restores a photograph of any size, as `scn restore` does.

    Args:
        image: a NumPy array (H, W), (H, W, 3) or (H, W, 4), a tensor (3, H, W), a Pillow image, or the path of a file;
            scn.inference.handle.Model.restore has the types.
        model: what `load` has returned, or references as `scn restore --model` takes them: `dn-s25`, `car-q20,sr-x2`,
            `auto` for what fits the image, which comes back as it is where there is nothing to restore. References are
            loaded at each call: for many images load the model once.
        scale: enlarge by this factor, 1.5 to 16; if the models don't, the nearest one for super-resolution does.
    Returns:
        the same kind, `scale` times as high and wide, or as the models enlarge; for a path a Pillow image.
    Raises:
        UserError: if the image can't be read or restored, or there is no such model.
    """
    factor = None if scale is None else check_factor(scale, "scale")
    models = Models()
    if isinstance(model, Model):
        models.loaded[given := "the model"] = model
    else:
        given = str(model)
    models.check(given)
    reference = models.wanted(given, scale)

    def restored(photograph: Photograph, name: str) -> Photograph:
        try:
            return models.restore(reference, photograph, Options(), factor=factor, name=name)[0]
        except NothingToRestore:
            return photograph

    return of_any_kind(restored, image)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Models as bytes."""

    files: dict[str, tuple[str, dict[str, bytes]]]
    """Reference -> version, and file name -> content."""
    candidates: list[Candidate]

    def unpack(self, device: str | None = None) -> Models:
        """The models, on a device of this machine; it has no registry to look for others."""
        models = Models(device, "")
        models._candidates = self.candidates
        for reference, (version, files) in self.files.items():
            with tempfile.TemporaryDirectory() as folder:
                for name, data in files.items():
                    (Path(folder) / name).write_bytes(data)
                models.loaded[reference] = Model(Path(folder), device, version=version)
        return models


def named(reference: str, model: Model | None) -> str:
    """A model's name for a person, with its version where that is known."""
    return f"{reference.partition('@')[0]}@{model.version}" if model and model.version else reference


def parts(reference: str, *, folders: bool = True) -> list[str]:
    """The references of a chain such as `car-q20,sr-x2`; if `folders`, a folder is one, whatever its name.

    Raises:
        UserError: if one is missing between two commas, or can be no name of anything, or there are more than _LONGEST;
            or if `auto` is not the first one, as it looks at the photograph as it came.
    """
    found = [reference] if folders and _exists(reference) else [part.strip() for part in reference.split(",")]
    if not all(found):
        raise UserError(
            f"'{short(reference)}' names no model between two commas, or before or after one: name one there."
        )
    if len(found) > _LONGEST:
        raise UserError(
            f"'{short(reference)}' names {len(found)} models, one after the other: name {_LONGEST} at most."
        )
    if AUTO in found[1:]:
        raise UserError(
            f"'{short(reference)}' names auto after another model, but auto looks at the photograph as it came: name "
            "it first, and once."
        )
    for each in found if folders else []:
        try:
            Path(each, WEIGHTS).exists()
        except OSError as error:  # a folder's name of more than 255 characters, say
            raise UserError(
                f"'{short(each)}' is no folder with a model that can be read, and no model ({error.strerror}): name "
                "one of those that `scn models list` shows."
            ) from None
    return found


def _exists(reference: str) -> bool:
    try:
        return Path(reference).exists()
    except OSError:  # several names may together be longer than that of a folder can be
        return False
