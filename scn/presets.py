"""Presets: sets of parameters that are written into params.yaml as a whole."""

from collections.abc import MutableMapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scn.config import load_params
from scn.errors import UserError
from scn.files import write_atomically

PRESETS = Path(__file__).resolve().parent.parent / "presets"


def apply_preset(name: str, path: Path) -> None:
    """Writes the values of presets/<name>.yaml over those in `path`; comments and all other keys stay.

    Raises:
        UserError: if there is no such preset, or the result is no valid configuration (then nothing is written).
    """
    known = sorted(p.stem for p in PRESETS.glob("*.yaml"))
    if name not in known:
        raise UserError(f"There is no preset '{name}': use one of {', '.join(known)}.")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    try:
        document = yaml.load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name the configuration with --params.") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML ({str(error).splitlines()[0]}): restore it from git.") from None
    presets = {preset: yaml.load((PRESETS / f"{preset}.yaml").read_text()) for preset in known}
    for other in presets.values():  # the corpora of one preset need not be here for the other
        for kind, corpora in other["corpora"].items():
            present = document["corpora"].get(kind) or {}
            for corpus, where in corpora.items():
                if present.get(corpus) == where:
                    del present[corpus]
    _overlay(document, presets[name])
    text = StringIO()
    yaml.dump(document, text)
    trial = path.with_name(f".{path.name}.trial")
    trial.write_text(text.getvalue())
    try:
        load_params(trial)
        write_atomically(path, text.getvalue().encode())
    finally:
        trial.unlink()
    print(f"{path} now holds the preset {name}")


def _overlay(document: MutableMapping[str, Any], values: MutableMapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, MutableMapping) and value and isinstance(document.get(key), MutableMapping):
            _overlay(document[key], value)
        elif document.get(key) != value:
            document[key] = value
