"""Models by reference: a folder, a published name, NAME@vN, NAME@ALIAS, or the name of one that ships."""

import difflib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scn import zoo
from scn.config.params import PARAMS_FILE, Params, load_params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.evaluation.published import KNOWN_AS
from scn.inference.model_config import CONFIG, METRICS, WEIGHTS
from scn.inference.records import Metrics
from scn.registry.manifest import MANIFEST, read_manifest, sha256
from scn.registry.pointers import LATEST, Pointer, aliases, can_be_alias, read
from scn.registry.publish import published, version_folder, versions
from scn.registry.signing import as_named, check_signature
from scn.registry.telling import tell_once
from scn.registry.trust import SEEN, pointers, read_trusted, was_seen
from scn.registry.versions import read_version, verify
from scn.storage.base import ObjectNotFound, Store, StoreError
from scn.storage.local import FileStore

if TYPE_CHECKING:
    import torch

    from scn.inference.handle import Model

CACHE = Path(".scn/cache")
_LARGEST = 1000
"""No level and no scale is larger."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model that `load` finds by its name."""

    name: str
    version: str
    """The version, such as "v3"; "" if it ships with this installation."""
    task: str
    """The task: "sr", "dn" or "car"; "" if its config.json does not say."""
    level: int | None
    """The degradation it was trained for: scale factor, sigma (of 255) or JPEG quality; None if not known."""
    scale: int
    """The result's height and width, relative to the input's."""
    source: str
    """Where it lies: a folder of this installation, or the version's URL in the store."""
    names: tuple[str, ...] = ()
    """The names that point to it: "latest", and aliases."""
    figures: str = ""
    """Its PSNR on the first evaluation set: "29.12 dB on BSD68"; "" if it was not measured."""

    @property
    def reference(self) -> str:
        """The name for `load`: "sr-x2@v3", or "sr-x2" if it ships; a published version of that name goes first."""
        return f"{self.name}@{self.version}" if self.version else self.name


def load(
    reference: str | Path, device: "torch.device | str | None" = None, *, params_file: Path | str = PARAMS_FILE
) -> "Model":
    """A model, ready to use.

    Args:
        reference: `sr-x2` (the latest published version; where there is none, the model of this name that ships),
            `sr-x2@v3`, `sr-x2@production` (an alias), or a folder with model.safetensors and config.json, which wins
            over a name.
        device: where it computes; None: a GPU if there is one.
        params_file: says where the registry is; where there is no params.yaml, only folders and models that ship are
            found.
    Raises:
        UserError: if there is no such model, a file is damaged, or the device can't be used; or if there is no
            params_file of another name.
    """
    from scn.inference.handle import Model  # and with it PyTorch, which `list_models` does without

    folder, version = find(reference, params_file)
    return Model(folder, device, version=version)


def list_models(*, params_file: Path | str = PARAMS_FILE) -> list[ModelEntry]:
    """The models that `load` finds by name: those that ship, then every published version, by name and number.

    A published one whose config.json is damaged is left out, and so is a name that is damaged or not trusted, which is
    told once: it must not hide the others. Of a version that nobody who is trusted has signed nothing is said but its
    name, as `auto` would heed it.

    Args:
        params_file: says where the registry is; where there is no such file, only models that ship are listed.
    Raises:
        UserError: if the store can't be read, or a model that ships is damaged; or as `load` for params_file.
    """
    ship = FileStore(zoo.FOLDER)
    entries = [_entry(partial(_content, ship, name), name, "", str(zoo.FOLDER / name)) for name in zoo.names()]
    if params := _params(params_file, "only models that ship are listed"):
        store = params.open_store()
        for name, numbers in published(store).items():
            named = pointers(store, name, params)
            for number in numbers:
                key, version = version_folder(name, number), f"v{number}"
                url = f"{params.storage.url.rstrip('/')}/{key}"
                try:
                    entry = _published_entry(store, name, version, url, params.registry.trusted)
                except StoreError:
                    raise
                except UserError as error:
                    tell_once(str(error))
                    continue
                names = tuple(each for each, pointer in named.items() if pointer.version == version)
                entries.append(replace(entry, names=names))
    return entries


def nearest(factor: float, *, params_file: Path | str = PARAMS_FILE) -> str:
    """The reference of the super-resolution model whose scale is nearest to a factor; of two, the larger scale.

    Raises:
        UserError: if there is none.
    """
    found = {entry.scale: entry.name for entry in list_models(params_file=params_file) if entry.task == "sr"}
    if not found:
        raise UserError("There is no model for super-resolution: publish one (`make run` trains sr-x2), or name one.")
    return found[min(sorted(found, reverse=True), key=lambda scale: abs(math.log(scale / factor)))]


def version_named(reference: str, params_file: Path | str = PARAMS_FILE) -> str:
    """The version that a reference names now, such as "v3"; "" for a model that ships.

    Nothing is fetched, and no folder is looked up. Arguments and errors are those of `load`.
    """
    if not Path(params_file).is_file():
        return ""
    params = load_params(params_file)
    store = params.open_store()
    if zoo.folder(reference) is not None and not _is_published(reference, store, params):
        return ""
    return parse(reference, store, params)[1]


def find(reference: str | Path, params_file: Path | str = PARAMS_FILE, *, folders: bool = True) -> tuple[Path, str]:
    """A folder on this machine with the model that `reference` names, and its version in the registry, if it is there.

    Arguments and errors are those of `load`; it is told where a model that ships serves for want of a published one.
    Unless `folders`, a reference is a name: a folder that is called so is not looked at.
    """
    if not isinstance(reference, str | Path):
        raise UserError(f"A model is named by a string or a path, not {type(reference).__name__}: name one.")
    folder = Path(reference)
    check_named(params_file)
    if folders and ((folder / WEIGHTS).is_file() or (folder / CONFIG).is_file()):
        if (folder / MANIFEST).is_file():  # a version: its hashes are known
            read_version(folder)
        return folder, ""
    shipped = zoo.folder(str(reference))
    if shipped is None:
        if not Path(params_file).is_file():
            names = zoo.names()
            raise UserError(
                f"'{reference}' is no folder with a model and none that ships ({', '.join(names) or 'none does'}), and "
                f"{params_file} does not exist, which would say where others are: name one of these, or run this in "
                "the project's folder."
            )
        return resolve(str(reference), load_params(params_file))
    if params := _params(params_file, f"{reference}: {shipped} serves"):
        if _is_published(str(reference), params.open_store(), params):
            return resolve(str(reference), params)
        print(f"{reference}: uses {shipped}, as no version is published in {params.storage.url}", file=sys.stderr)
    read_version(shipped)
    return shipped, ""


def resolve(reference: str, params: Params) -> tuple[Path, str]:
    """The folder of a published version on this machine, fetched into the cache if it is not there, and the version.

    Args:
        reference: `sr-x2`, `sr-x2@v3`, or `sr-x2@production` for an alias.
    Raises:
        UserError: naming what is published, if there is no such version; or if a file is damaged.
    """
    store = params.open_store()
    experiment, version = parse(reference, store, params)
    where = f"registry/{experiment}/{version}"
    manifest = store.get(f"{where}/{MANIFEST}")
    check_signature(store, experiment, version, manifest, params.registry.trusted)
    folder = params.root / CACHE / sha256(manifest)
    files = read_manifest(manifest, f"{where}/{MANIFEST}")
    if (folder / MANIFEST).is_file():  # written last
        try:
            verify(folder, files)
            return folder, version
        except UserError:  # damaged on this machine only: fetch what is damaged again
            pass
    for name, expected in files.items():
        try:
            data = store.get(f"{where}/{name}")
        except ObjectNotFound:
            data = b""
        if sha256(data) != expected["sha256"]:
            raise UserError(
                f"{name} of {experiment}@{version} in {store.url} is missing or damaged (its SHA-256 is not the "
                f"manifest's): use another version, or delete {where} there and publish again."
            )
        write_atomically(folder / name, data)
    write_atomically(folder / MANIFEST, manifest)
    return folder, version


def check_named(params_file: Path | str) -> None:
    """Raises UserError for a configuration that is not there, unless it is the usual name, which nobody may have meant.

    "" is no configuration.
    """
    path = Path(params_file)
    if str(params_file) and path != Path(PARAMS_FILE) and not path.is_file():
        raise UserError(f"{path} does not exist: name the project's params.yaml, or leave --params out.")


def _is_published(experiment: str, store: Store, params: Params) -> bool:
    """True if versions of a model that ships are published, which go first.

    Raises:
        UserError: if none is there, but was, and whose word counts is named: who deletes must not choose what serves.
    """
    if versions(store, experiment):
        return True
    if was_seen(experiment, params):
        raise UserError(
            f"{experiment} has no version in {store.url}, but had a signed one when it was last seen here: copy "
            f"registry/{experiment} back from a back-up; if it was deleted on purpose, delete "
            f"{params.root / SEEN / experiment}."
        )
    return False


def _params(path: Path | str, instead: str) -> Params | None:
    """The configuration that says where the registry is; None if there is none.

    A params.yaml may also be that of another project, as DVC's users have them: that is told, with `instead`, and
    does not keep anybody from a model that ships.
    """
    check_named(path)
    if not Path(path).is_file():
        return None
    try:
        return load_params(path)
    except UserError as error:
        tell_once(f"{instead}, as no registry is known ({str(error).rstrip('.')})")
        return None


def _content(store: Store, key: str, file: str) -> bytes:
    return store.get(f"{key}/{file}")


def _published_entry(store: Store, name: str, version: str, source: str, trusted: Sequence[str]) -> ModelEntry:
    where = f"registry/{name}/{version}"
    if not trusted:
        return _entry(partial(_content, store, where), name, version, source)
    try:
        manifest = store.get(f"{where}/{MANIFEST}")
        check_signature(store, name, version, manifest, trusted)
    except ObjectNotFound as error:  # it was deleted meanwhile
        raise UserError(str(error)) from None
    except StoreError:
        raise
    except UserError:
        return ModelEntry(name=name, version=version, task="", level=None, scale=1, source=source)
    files = read_manifest(manifest, f"{where}/{MANIFEST}")  # checked once for all files of the version
    return _entry(lambda file: as_named(store, name, version, file, files), name, version, source)


def _entry(content: Callable[[str], bytes], name: str, version: str, source: str) -> ModelEntry:
    """The model whose files `content` returns by their names."""
    try:
        config = json.loads(content(CONFIG))
        task, level, scale = config.get("task", ""), config.get("level"), config["architecture"].get("scale", 1)
        if not isinstance(task, str) or not (level is None or _is_number(level)) or not _is_number(scale):
            raise ValueError("no model has these")
        return ModelEntry(
            name=name,
            version=version,
            task=task,
            level=level,
            scale=int(scale),
            source=source,
            figures=_figures(content),
        )
    except (ObjectNotFound, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{source}/{CONFIG} is missing or damaged: delete this folder, and publish or install the model again."
        ) from None


def _is_number(value: object) -> bool:
    """True for what a level or a scale may be: `auto` and `nearest` compute with it."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= _LARGEST


def _figures(content: Callable[[str], bytes]) -> str:
    try:
        metrics = Metrics.loads(content(METRICS), Path(METRICS), "publish the model again")
    except ObjectNotFound:
        return ""
    return next(
        (f"{figures.model.psnr:.2f} dB on {KNOWN_AS.get(name, name)}" for name, figures in metrics.sets.items()), ""
    )


def parse(reference: str, store: Store, params: Params | None = None) -> tuple[str, str]:
    """The experiment and the version that a reference to a published model means.

    Args:
        params: says whose moves of a name count; None: everybody's.
    Raises:
        UserError: naming what is published, if there is no such version; or if what a name points to is not trusted.
    """
    experiment, at, version = reference.partition("@")
    shipped = zoo.names()
    found = published(store)
    if experiment in shipped and experiment not in found:
        raise UserError(
            f"{experiment} ships with the project, and no version of it is published in {store.url}: publish it with "
            f"`scn models install {zoo.folder(experiment)}`."
        )
    if experiment not in found:
        near = difflib.get_close_matches(experiment, [*found, *shipped], n=1, cutoff=0.5)
        listing = f"published there: {', '.join(found)}" if found else "nothing is published there yet"
        if shipped:
            listing += f", in the zoo: {', '.join(shipped)}"
        hint = (
            f"did you mean '{near[0]}' ({listing})"
            if near
            else f"{listing}; publish with `scn publish --experiment NAME`"
        )
        raise UserError(f"'{reference}' is no folder with a model and no model in {store.url}: {hint}.")
    numbers = [f"v{number}" for number in found[experiment]]
    if not at or version == LATEST:
        # A process that died between manifest and pointer leaves a whole version that nothing points to yet.
        named = _pointer(store, experiment, LATEST, params)
        if named is None and params and params.registry.trusted:
            raise UserError(
                f"{experiment}@{LATEST} points to nothing in {store.url}: name a version, as "
                f"{experiment}@{numbers[-1]}, or promote one."
            )
        return experiment, named.version if named else numbers[-1]
    if version in numbers:
        return experiment, version
    if can_be_alias(version) and (pointer := _pointer(store, experiment, version, params)):
        return experiment, pointer.version
    also = aliases(store.list(f"registry/{experiment}/aliases/"), experiment)
    known = ", ".join([*numbers, *also])
    raise UserError(f"{experiment} has no version '{version}' in {store.url}: use one of {known}.")


def _pointer(store: Store, experiment: str, name: str, params: Params | None) -> Pointer | None:
    return read_trusted(store, experiment, name, params) if params else read(store, experiment, name)
