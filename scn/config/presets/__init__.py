"""Presets: named sets of parameters, each of which `scn preset` writes into params.yaml as a whole."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from io import StringIO
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML, RoundTripRepresenter
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from scn.config.params import load_params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.schema import unknown

PRESETS = Path(__file__).parent
"""The folder of the presets, NAME.yaml."""
BASE = "demo"
"""The preset that has a value for every key that any preset sets."""


class _Representer(RoundTripRepresenter):
    """Writes null as `null`, not as nothing."""


_Representer.add_representer(type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null"))


def presets() -> dict[str, list[str]]:
    """All presets: name -> the lines that tell its recipe, source, expected result and cost."""
    found = {}
    for path in sorted(PRESETS.glob("*.yaml"), key=lambda path: (path.stem != BASE, path.stem)):
        comments = takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
        found[path.stem] = [line.lstrip("# ") for line in comments]
    return found


def describe_presets() -> str:
    """All presets with their descriptions, for a terminal of 120 columns."""
    return "\n\n".join("\n  ".join([name, *lines]) for name, lines in presets().items())


def apply_preset(name: str, path: Path) -> None:
    """Writes a preset's values over those in the params.yaml at `path`; comments and all other keys stay.

    Keys of a recipe that the preset leaves out get the demo's values, whichever preset was there before. Corpora of
    the preset that was there before go, unless an experiment that no preset has uses them.

    Raises:
        UserError: if there is no such preset, the file can't be read or written, or the result is no valid
            configuration (then nothing is written).
    """
    known = presets()
    if name not in known:
        raise UserError(f"{unknown(name, known, 'preset')}.")
    yaml = _yaml()
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name the configuration with --params.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name the configuration with --params.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8: write it in UTF-8, or restore it from git.") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML ({str(error).splitlines()[0]}): restore it from git.") from None
    if not isinstance(document, CommentedMap) or not isinstance(document.get("corpora"), CommentedMap):
        raise UserError(f"{path} has no section corpora: restore it from git.")
    corpora = document["corpora"].get("download") or CommentedMap()
    if not isinstance(corpora, CommentedMap):
        raise UserError(f"{path}: corpora.download holds no names with places: write it as NAME: catalogue.")
    for corpus in _of_presets(document, corpora):
        del corpora[corpus]
    _overlay(document, {key: value for key, value in _values(BASE).items() if key != "corpora"})
    _overlay(document, _values(name))
    text = StringIO()
    yaml.dump(document, text)
    with TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text.getvalue(), encoding="utf-8")
        try:
            load_params(trial)
        except UserError as error:
            raise UserError(
                f"The preset {name} can't be written: {str(error).replace(str(trial), str(path))}"
            ) from None
    write_atomically(path.resolve(), text.getvalue().encode())  # a link stays one
    print(f"{path} now holds the preset {name}")


def _of_presets(document: CommentedMap, corpora: Mapping[str, Any]) -> set[str]:
    """The corpora that presets put there, which may not be on this machine: those of each one that is there.

    A preset is there if all of its corpora are, or its section `data`; a corpus of it in another file is the user's.
    """
    gone = set[str]()
    for other in presets():
        values = _values(other)
        theirs = values["corpora"]["download"]
        data = document.get("data")
        same = isinstance(data, CommentedMap) and all(
            data.get(key) == values["data"].get(key) for key in ("train", "evaluation")
        )
        if same or theirs.items() <= corpora.items():
            gone |= {corpus for corpus, where in theirs.items() if corpora.get(corpus) == where}
    experiments = document.get("experiments")
    for experiment, section in experiments.items() if isinstance(experiments, CommentedMap) else ():
        own = section.get("data") if isinstance(section, Mapping) else None
        if experiment not in _values(BASE)["experiments"] and isinstance(own, Mapping):
            references = [each for key in ("train", "evaluation") for each in own.get(key) or ()]
            gone -= {str(each).partition("/")[0] for each in references}
    return gone


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 400  # an experiment stays one line
    return yaml


@cache
def _values(name: str) -> Any:
    return _yaml().load((PRESETS / f"{name}.yaml").read_text())


def _overlay(document: CommentedMap, values: Mapping[str, Any], place: tuple[str, ...] = ()) -> None:
    """Puts `values` into the document; what is there already keeps its comments and its style."""
    for key, value in values.items():
        present, here = document.get(key), (*place, key)
        if isinstance(value, Mapping) and isinstance(present, CommentedMap):
            if not _keeps_others(here):
                if not present:  # ruamel forgets how an empty mapping was written, and would write its keys below
                    present.fa.set_flow_style()
                for gone in [old for old in present if old not in value]:
                    del present[gone]
            _overlay(present, value, here)
        elif present != value:
            document[key] = deepcopy(value)


def _keeps_others(place: tuple[str, ...]) -> bool:
    """True if the entries of the mapping at `place` are independent of each other, as those of a section are.

    A network's parameters, the models to start from, the terms of a loss and what an experiment changes are one thing
    and replaced as a whole.
    """
    deep = 2 if place[0] in ("corpora", "experiments") else 1
    return place[0] not in ("model", "start_from") and len(place) <= deep
