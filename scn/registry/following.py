"""Models that follow the registry: what was published, promoted or taken back is what serves soon after."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from scn.config.params import PARAMS_FILE, load_params
from scn.core.errors import UserError
from scn.core.masking import masked
from scn.inference.auto import AUTO, Candidate
from scn.inference.handle import Model
from scn.registry.reference import version_named
from scn.registry.several import Models

HEED_S = 20.0
"""Seconds for which what a reference names, and what `auto` chooses from, is not asked again."""


class FollowingModels(Models):
    """Models by reference, for a process that lives long: each is loaded anew when its reference names another version,
    and `auto` chooses from those that are published now.

    While the registry can't be read, or what it names can't be loaded, what was loaded before serves on, which is told
    once. References are names: who asks such a process is not to look into folders of its machine.
    """

    def __init__(self, device: str | None = None, params_file: Path | str = PARAMS_FILE) -> None:
        super().__init__(device, params_file, folders=False)
        self._asked: dict[str, float] = {}
        self._told: dict[str, str] = {}  # reference -> the version that can't be loaded; "": the registry can't be read

    def load(self, reference: str) -> Model:
        now = time.monotonic()
        if reference in self.loaded and now - self._asked.get(reference, now) > HEED_S:
            self._asked[reference] = now
            present, wanted = self.loaded[reference].version, ""
            try:
                wanted = version_named(reference, self.params_file)
                if wanted != present:
                    self.loaded[reference] = self.found(reference)
                self._told.pop(reference, None)
            except UserError as error:
                if self._told.get(reference) != wanted:
                    self._told[reference] = wanted
                    print(masked(f"{reference}: {present or 'what ships'} serves on ({error})"), file=sys.stderr)
        self._asked.setdefault(reference, now)
        return super().load(reference)

    def candidates(self) -> list[Candidate]:
        now = time.monotonic()
        if self._candidates is not None and now - self._asked.get(AUTO, now) > HEED_S:
            self._asked[AUTO] = now
            with suppress(UserError):
                if Path(self.params_file).is_file():
                    load_params(self.params_file)  # without one that can be read, only models that ship are listed
                self._candidates = self._listed() or self._candidates
        self._asked.setdefault(AUTO, now)
        return super().candidates()
