"""Immutable published versions of the models, in the store.

    registry/<experiment>/v1/{model.safetensors,config.json,metrics.json,README.md,manifest.json}
    registry/<experiment>/latest.json     {"version": "v1"}, moved by compare-and-swap

A version exists once its manifest.json does, and that is written last. What a dying process leaves before is a half
version: nobody lists or loads it; the next publisher continues it if it holds the same bytes, and takes the next
number otherwise. Two publishers at once write the same files in the same order, so that the first file in which they
differ belongs to one of them (objects are immutable) and the other goes on to the next number.
"""

import difflib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from scn import zoo
from scn.config.params import PARAMS_FILE, Params, load_params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.inference.handle import Model
from scn.inference.model_files import CARD, CONFIG, METRICS, WEIGHTS, load_model
from scn.registry.versions import (
    MANIFEST,
    Version,
    read_manifest,
    read_version,
    sha256,
    trained_version,
    verify,
)
from scn.storage import open_store
from scn.storage.base import ObjectExists, ObjectNotFound, Store

CACHE = Path(".scn/cache")


def publish(params: Params, experiment_name: str) -> dict[str, str]:
    """Publishes models/<E> and metrics/<E>.json as a new version, unless the newest version holds the same bytes.

    Returns:
        {"experiment", "version", "url", "manifest_sha256"}, also written to published/<E>.json.
    Raises:
        UserError: if the model or its metrics are missing, or the metrics are those of other weights.
    """
    receipt = _publish(params, trained_version(params, experiment_name))
    path = params.root / "published" / f"{experiment_name}.json"
    write_atomically(path, (json.dumps(receipt, indent=1) + "\n").encode())
    return receipt


def install(params: Params, folder: Path) -> dict[str, str]:
    """Publishes the version in `folder`, such as scn/zoo/<E>, byte by byte, unless the newest version is the same.

    Returns:
        as `publish`; nothing is written but the registry.
    Raises:
        UserError: if the folder holds no version of a model, or a file is damaged.
    """
    version = read_version(folder)
    missing = [name for name in (WEIGHTS, CONFIG, METRICS, CARD) if name not in version.content]
    if missing or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", version.experiment):
        what = f"no {missing[0]}" if missing else "no name of an experiment"
        raise UserError(f"{folder / MANIFEST} names {what}: name the folder of a whole version, as scn/zoo/EXPERIMENT.")
    load_model(folder)  # never publish what can't be loaded
    return _publish(params, version)


def load(
    reference: str | Path, device: torch.device | str | None = None, *, params_file: Path | str = PARAMS_FILE
) -> Model:
    """Loads a model, ready to use.

    Args:
        reference: `sr-x2` (the latest published version; where there is none, the model of this name that ships),
            `sr-x2@v3`, or a folder with model.safetensors and config.json, which wins over a name.
        device: the device to compute on; None: a GPU if there is one.
        params_file: says where the registry is; where there is no such file, only folders and shipped models are
            found.
    Raises:
        UserError: if there is no such model, or a file is damaged.
    """
    folder, version = find(reference, params_file)
    return Model(folder, device, version=version)


def find(reference: str | Path, params_file: Path | str = PARAMS_FILE) -> tuple[Path, str]:
    """Finds the model that `reference` names: returns its folder on this machine, and its version, such as "v3".

    The version is "" for a model that does not come from the registry. Arguments and errors are those of `load`.
    """
    folder = Path(reference)
    if (folder / WEIGHTS).is_file() or (folder / CONFIG).is_file():
        if (folder / MANIFEST).is_file():  # a version: its hashes are known
            read_version(folder)
        return folder, ""
    shipped = zoo.folder(str(reference))
    if shipped and not Path(params_file).is_file():
        read_version(shipped)
        return shipped, ""
    params = load_params(params_file)
    if shipped is None or versions(open_store(params.storage.url, params.root), str(reference)):
        return resolve(str(reference), params)
    read_version(shipped)
    print(f"{reference}: uses {shipped}, as no version is published in {params.storage.url}", file=sys.stderr)
    return shipped, ""


def resolve(reference: str, params: Params) -> tuple[Path, str]:
    """Fetches a published version into the cache, unless it is there; returns its folder there and its version.

    Args:
        reference: `sr-x2` or `sr-x2@v3`.
    Raises:
        UserError: if there is no such version (the message names what is published), or a file is damaged.
    """
    store = open_store(params.storage.url, params.root)
    experiment, version = _parse(reference, store, zoo.names())
    where = f"registry/{experiment}/{version}"
    manifest = store.get(f"{where}/{MANIFEST}")
    folder = params.root / CACHE / sha256(manifest)
    files = read_manifest(manifest, f"{where}/{MANIFEST}")
    if folder.is_dir():
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


def versions(store: Store, experiment: str) -> list[int]:
    """Returns the numbers of the versions that exist whole, in ascending order."""
    pattern = re.compile(rf"registry/{re.escape(experiment)}/v([1-9]\d*)/{re.escape(MANIFEST)}")
    found = map(pattern.fullmatch, store.list(f"registry/{experiment}/"))
    return sorted(int(match[1]) for match in found if match)


def latest(store: Store, experiment: str) -> str | None:
    """Returns the version that latest.json points to, such as "v3", or None if nothing is published."""
    pointer, _ = store.read_pointer(_latest_key(experiment))
    return None if pointer is None else _version_of(pointer, experiment)


def _publish(params: Params, version: Version) -> dict[str, str]:
    store = open_store(params.storage.url, params.root)
    number = _publish_version(store, version)
    _move_latest(store, version.experiment, number)
    return {
        "experiment": version.experiment,
        "version": f"v{number}",
        "url": f"{params.storage.url.rstrip('/')}/{_folder(version.experiment, number)}",
        "manifest_sha256": sha256(version.manifest),
    }


def _publish_version(store: Store, version: Version) -> int:
    """Stores the version under a new number, unless the newest one is the same; returns its number."""
    newest = max(versions(store, version.experiment), default=0)
    files = {**version.content, MANIFEST: version.manifest}
    if newest and _holds(store, _folder(version.experiment, newest), files):
        return newest
    number = newest + 1
    while True:
        try:
            for name, data in files.items():
                store.put(f"{_folder(version.experiment, number)}/{name}", data)
            return number
        except ObjectExists:  # somebody else's half version, or a publisher at work
            number += 1


def _holds(store: Store, folder: str, content: Mapping[str, bytes]) -> bool:
    """Returns True if the version in `folder` holds these files, undamaged."""
    try:
        return all(store.get(f"{folder}/{name}") == data for name, data in content.items())
    except ObjectNotFound:
        return False


def _move_latest(store: Store, experiment: str, number: int) -> None:
    """Points latest.json to version `number`, unless it points to a newer one already."""
    while True:
        pointer, token = store.read_pointer(_latest_key(experiment))
        if pointer is not None and int(_version_of(pointer, experiment)[1:]) >= number:
            return
        data = (json.dumps({"version": f"v{number}"}) + "\n").encode()
        if store.swap_pointer(_latest_key(experiment), data, token):
            return


def _parse(reference: str, store: Store, shipped: list[str]) -> tuple[str, str]:
    """(experiment, version) of a published reference; `shipped`, the experiments in the zoo, are for the message."""
    experiment, at, version = reference.partition("@")
    pattern = re.compile(rf"registry/([^/]+)/v[1-9]\d*/{re.escape(MANIFEST)}")
    published = sorted({match[1] for match in map(pattern.fullmatch, store.list("registry/")) if match})
    if experiment not in published:
        near = difflib.get_close_matches(experiment, [*published, *shipped], n=1, cutoff=0.5)
        listing = f"published there: {', '.join(published)}" if published else "nothing is published there yet"
        if shipped:
            listing += f", in the zoo: {', '.join(shipped)}"
        hint = (
            f"did you mean '{near[0]}' ({listing})"
            if near
            else f"{listing}; publish with `scn publish --experiment NAME`"
        )
        raise UserError(f"'{reference}' is no folder with a model and no model in {store.url}: {hint}.")
    numbers = [f"v{number}" for number in versions(store, experiment)]
    if not at:
        # A process that died between manifest and pointer leaves a whole version that nothing points to yet.
        return experiment, latest(store, experiment) or numbers[-1]
    if version not in numbers:
        raise UserError(f"{experiment} has no version '{version}' in {store.url}: use one of {', '.join(numbers)}.")
    return experiment, version


def _version_of(pointer: bytes, experiment: str) -> str:
    try:
        version = json.loads(pointer)["version"]
        if re.fullmatch(r"v[1-9]\d*", version):
            return str(version)
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{_latest_key(experiment)} in the store names no version: delete it and publish again.")


def _folder(experiment: str, number: int) -> str:
    return f"registry/{experiment}/v{number}"


def _latest_key(experiment: str) -> str:
    return f"registry/{experiment}/latest.json"
