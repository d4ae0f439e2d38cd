"""The models that a reference names, one after the other; `auto` among them is chosen for each photograph."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from scn.config.params import PARAMS_FILE
from scn.core.errors import UserError
from scn.imaging.image_io import Photograph
from scn.inference.auto import AUTO, Candidate, Choice, choose, examine
from scn.inference.batch import NothingToRestore
from scn.inference.chain import restore_by
from scn.inference.handle import Model
from scn.inference.model_files import CONFIG, WEIGHTS
from scn.inference.restore import Done, Options
from scn.registry.reference import find, list_models, load

Told = Callable[[str], object]
"""Is called with what `auto` has found and taken: "JPEG of quality 21: car-q20"."""


class Models:
    """Models by reference, each loaded once."""

    def __init__(self, device: str | None = None, params_file: Path | str = PARAMS_FILE) -> None:
        """Loads nothing yet.

        Args:
            device: where they compute; None: a GPU if there is one.
            params_file: says where the registry is, as for scn.registry.reference.load.
        """
        self.device, self.params_file = device, params_file
        self.loaded: dict[str, Model] = {}
        self._candidates: list[Candidate] | None = None

    def load(self, reference: str) -> Model:
        """The model of one reference. Raises UserError as scn.registry.reference.load."""
        if reference not in self.loaded:
            self.loaded[reference] = load(reference, self.device, params_file=self.params_file)
        return self.loaded[reference]

    def check(self, reference: str) -> None:
        """Loads what a reference names. Raises UserError as scn.registry.reference.load."""
        for each in parts(reference):
            if each != AUTO:
                self.load(each)

    def names(self, reference: str) -> str:
        """The names of its models for a person, with versions."""
        names = []
        for each in parts(reference):
            version = self.loaded[each].version if each in self.loaded else ""
            names.append(f"{each.partition('@')[0]}@{version}" if version else each)  # a published one goes first
        return ", ".join(names)

    def choose(self, reference: str, photograph: Photograph, told: Told = lambda found: None) -> list[Choice]:
        """What restores a photograph, the first one first.

        Raises:
            NothingToRestore: if `auto` finds nothing, and no other model is named.
        """
        chosen: list[Choice] = []
        references = parts(reference)
        for each in references:
            if each != AUTO:
                chosen.append(Choice(reference=each))
                continue
            finding = examine(photograph)
            fits = choose(finding, self.candidates())
            if fits is None and len(references) == 1:
                raise NothingToRestore(f"{finding}: nothing to restore")
            told(f"{finding}: {fits or 'nothing to restore'}")
            chosen += [fits] if fits else []
        return chosen

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
        chosen = self.choose(reference, photograph, told)
        restored = restore_by(
            [self.load(each.reference) for each in chosen],
            photograph,
            options,
            strengths=[each.strength for each in chosen],
            factor=factor,
            name=name,
            done=done,
        )
        by = self.names(",".join(each.reference for each in chosen)) if chosen else "bicubic interpolation"
        return restored, by

    def packed(self, reference: str) -> "Packed":
        """All that a reference needs, to be unpacked on another machine. Raises UserError as `check`."""
        references = [each for each in parts(reference) if each != AUTO]
        candidates = self.candidates() if AUTO in parts(reference) else []
        files = {}
        for each in {*references, *(candidate.reference for candidate in candidates)}:
            folder, version = find(each, self.params_file)
            files[each] = (version, {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)})
        return Packed(files=files, candidates=candidates)

    def candidates(self) -> list[Candidate]:
        """The models that `auto` chooses from. Raises UserError if there are none."""
        if self._candidates is None:
            listed = list_models(params_file=self.params_file)
            entries = {entry.name: entry for entry in listed if entry.level is not None}
            self._candidates = [
                Candidate(reference=entry.name, task=entry.task, level=entry.level or 0)
                for entry in entries.values()
                if entry.task in ("dn", "car")
            ]
        if not self._candidates:
            raise UserError("There is no model for noise or JPEG to choose from: name one with --model.")
        return self._candidates


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


def parts(reference: str) -> list[str]:
    """The references of a chain such as `car-q20,sr-x2`; a folder is one, whatever its name."""
    return [reference] if Path(reference).exists() else [part.strip() for part in reference.split(",")]
