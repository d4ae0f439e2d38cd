"""Immutable published versions of the models, in the store.

    registry/<experiment>/v1/{model.safetensors,config.json,metrics.json,README.md,manifest.json}
    registry/<experiment>/latest.json     the version that serves (scn.registry.pointers)

A version exists once its manifest.json does, and that is written last. What a dying process leaves before is a half
version: nobody lists or loads it; the next publisher continues it if it holds the same bytes, and takes the next
number otherwise. Two publishers at once write the same files in the same order, so that the first file in which they
differ belongs to one of them (objects are immutable) and the other goes on to the next number.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.inference.model_config import CARD, CONFIG, METRICS, WEIGHTS
from scn.inference.records import Metrics, Receipt
from scn.registry.manifest import MANIFEST, read_manifest, sha256
from scn.registry.pointers import LATEST, NOTHING, Pointer, read
from scn.registry.rule import objection
from scn.registry.signing import KEY, SIGNATURE, check_signature, signed, signing_key, vouched
from scn.registry.trust import may_move, move_and_note, standing
from scn.registry.versions import CIRCUMSTANCES, Version, read_version, trained_version
from scn.storage.base import ObjectExists, ObjectNotFound, Store, StoreError

_ATTEMPTS = 1000
"""Numbers that a publisher tries for a version; others may take some of them meanwhile."""
_PUBLISHED = "published"
"""Why `latest` has moved, in its history, when a publish moved it."""


def publish(params: Params, experiment_name: str) -> Receipt:
    """Publishes models/<E> with its figures as a new version, unless the newest version holds the same.

    The same: byte by byte, but for how long, where and at which commit it was trained (CIRCUMSTANCES), which a training
    that is repeated has anew, with the same weights.

    Returns:
        where it is published, also written to published/<E>.json.
    Raises:
        UserError: if the model or its metrics are missing, or the metrics are those of other weights.
    """
    version = trained_version(params, experiment_name)
    store = params.open_store(version.experiment, publishing=True)
    receipt = _publish(params, store, _as_published(params, store, version))
    path = params.root / "published" / f"{experiment_name}.json"
    write_atomically(path, receipt.dumps())
    return receipt


def install(params: Params, folder: Path) -> Receipt:
    """Publishes the version in `folder`, as scn/zoo/<E>, byte by byte, unless the newest version is the same.

    Returns:
        where it is published; nothing is written but the registry.
    Raises:
        UserError: if the folder holds no version of a model, or a file is damaged.
    """
    from scn.inference.model_files import load_model

    version = read_version(folder)
    missing = [name for name in (WEIGHTS, CONFIG, METRICS, CARD) if name not in version.content]
    if missing or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", version.experiment):
        what = f"no {missing[0]}" if missing else "no name of an experiment"
        raise UserError(f"{folder / MANIFEST} names {what}: name the folder of a whole version, as scn/zoo/EXPERIMENT.")
    load_model(folder)  # never publish what can't be loaded
    return _publish(params, params.open_store(version.experiment, publishing=True), version)


def versions(store: Store, experiment: str) -> list[int]:
    """The numbers of the versions that exist whole, ascending."""
    return published(store, f"registry/{experiment}/").get(experiment, [])


def published(store: Store, prefix: str = "registry/") -> dict[str, list[int]]:
    """Experiment -> the numbers of its versions that exist whole, ascending.

    Args:
        prefix: of the keys to look at.
    """
    pattern = re.compile(rf"registry/([^/]+)/v([1-9]\d*)/{re.escape(MANIFEST)}")
    found: dict[str, list[int]] = {}
    for match in filter(None, map(pattern.fullmatch, store.list(prefix))):
        found.setdefault(match[1], []).append(int(match[2]))
    return {experiment: sorted(found[experiment]) for experiment in sorted(found)}


def is_there(store: Store, experiment: str, version: str) -> bool:
    """True if a version, such as "v3", exists whole."""
    return store.exists(f"{version_folder(experiment, int(version[1:]))}/{MANIFEST}")


def latest(store: Store, experiment: str) -> str | None:
    """Returns the version that latest.json points to, such as "v3", or None if nothing is published."""
    pointer = read(store, experiment, LATEST)
    return pointer.version if pointer else None


def sign(params: Params, experiment: str, version: str) -> None:
    """Signs a published version, such as "v3", with the key that SCN_SIGNING_KEY names.

    Raises:
        UserError: if no key is named, or another has signed it.
    """
    if not (key := signing_key()):
        raise UserError(f"{KEY} is not set: let it name a private key; `scn models key FILE` makes one.")
    store, folder = params.open_store(publishing=True), version_folder(experiment, int(version[1:]))
    try:
        store.put(f"{folder}/{SIGNATURE}", signed(key, experiment, version, store.get(f"{folder}/{MANIFEST}")))
    except ObjectExists:
        raise UserError(
            f"{experiment}@{version} is signed already, by another key: publish it again to sign it."
        ) from None


def metrics_of(store: Store, experiment: str, version: str, trusted: Sequence[str]) -> Metrics:
    """Returns the figures of a published version, such as "v3", which decide what becomes `latest`.

    Raises:
        UserError: if they are missing, damaged or not the manifest's, or as scn.registry.signing.check_signature.
    """
    key = f"{version_folder(experiment, int(version[1:]))}/{METRICS}"
    data = vouched(store, experiment, version, METRICS, trusted)
    return Metrics.loads(data, Path(key), "publish the model again")


def receipt_of(params: Params, experiment: str, number: int, manifest: bytes) -> Receipt:
    """Returns the receipt of version `number`, which has this manifest."""
    weights = None
    with suppress(UserError):  # damaged, or of a newer scn, in a store that is looked through
        weights = read_manifest(manifest, MANIFEST).get(WEIGHTS)
    return Receipt(
        experiment=experiment,
        version=f"v{number}",
        url=f"{params.storage.url.rstrip('/')}/{version_folder(experiment, number)}",
        manifest_sha256=sha256(manifest),
        weights_sha256=weights["sha256"] if weights else None,
    )


def _as_published(params: Params, store: Store, version: Version) -> Version:
    """The newest version, where a trained one differs from it in CIRCUMSTANCES only; otherwise the trained one."""
    newest = max(versions(store, version.experiment), default=0)
    folder = version_folder(version.experiment, newest)
    try:
        written = store.get(f"{folder}/{CONFIG}")
        about, own = (
            {**json.loads(each), **dict.fromkeys(CIRCUMSTANCES)} for each in (written, version.content[CONFIG])
        )
    except (ObjectNotFound, ValueError, TypeError):  # nothing is published, or it is damaged
        return version
    if written == version.content[CONFIG] or about != own:
        return version
    same = trained_version(params, version.experiment, written)
    return same if _holds(store, folder, {**same.content, MANIFEST: same.manifest}) else version


def _publish(params: Params, store: Store, version: Version) -> Receipt:
    number, is_new = _publish_version(store, version, params)
    _offer(store, version, number, is_new, params)
    return receipt_of(params, version.experiment, number, version.manifest)


def _publish_version(store: Store, version: Version, params: Params) -> tuple[int, bool]:
    """Stores the version under a new number, unless the newest one is the same; returns its number and if it is new.

    The newest one is signed if nobody has; it is another one if who has is not trusted.
    """
    key = signing_key()
    newest = max(versions(store, version.experiment), default=0)
    files = {**version.content, MANIFEST: version.manifest}
    same = newest and _holds(store, version_folder(version.experiment, newest), files)
    if same and _is_signed(store, version, f"v{newest}", params):
        return newest, False
    for number in range(newest + 1, newest + 1 + _ATTEMPTS):
        if key:  # before the manifest, so that the version is signed as soon as it exists
            signature = signed(key, version.experiment, f"v{number}", version.manifest)
            files = {**version.content, SIGNATURE: signature, MANIFEST: version.manifest}
        try:
            for name, data in files.items():
                store.put(f"{version_folder(version.experiment, number)}/{name}", data)
            return number, True
        except ObjectExists:  # somebody else's half version, or a publisher at work
            continue
    raise StoreError(
        f"{store.url}/registry/{version.experiment} already holds other files under each of the {_ATTEMPTS} numbers "
        f"after v{newest}: delete half versions there (those without {MANIFEST}) and publish again."
    )


def _is_signed(store: Store, version: Version, number: str, params: Params) -> bool:
    """True if a version in the store, which holds the same files, can be loaded; signs it where nobody has.

    Somebody without a key may have put it there, or have deleted its signature: `latest`, which is signed, must not
    come to stand on it. Without a key that counts, `latest` does not move, and nothing is asked.
    """
    if not (key := signing_key()) or may_move(params):
        return True
    data = signed(key, version.experiment, number, version.manifest)
    with suppress(ObjectExists):  # by somebody else, who may be trusted, too
        store.put(f"{version_folder(version.experiment, int(number[1:]))}/{SIGNATURE}", data)
    try:
        check_signature(store, version.experiment, number, version.manifest, params.registry.trusted)
    except StoreError:
        raise
    except UserError:
        return False
    return True


def _holds(store: Store, folder: str, content: Mapping[str, bytes]) -> bool:
    """Returns True if the version in `folder` holds these files, undamaged."""
    try:
        return all(store.get(f"{folder}/{name}") == data for name, data in content.items())
    except ObjectNotFound:
        return False


def _offer(store: Store, version: Version, number: int, is_new: bool, params: Params) -> None:
    """Points latest.json to version `number` if it may take the place of what is there; otherwise tells why not."""
    name, candidate, why, may_lose = version.experiment, f"v{number}", "", params.registry.latest_may_lose

    def decide(present: Pointer) -> Pointer | None:
        nonlocal why
        trusted = params.registry.trusted
        why = may_move(params) or ("" if standing(present, name, LATEST, params)[1] else "it can't be trusted")
        if why:
            return None
        if present == NOTHING:
            return present.moved(candidate, _PUBLISHED)
        if present.version == candidate:
            return None
        # Whatever is published is better than a version that is not there, as where damaged ones were deleted.
        gone = not is_there(store, name, present.version)
        if not gone and int(present.version[1:]) > number:  # another publisher took a later number, and was faster
            try:
                return _in_order(store, version, present, candidate, may_lose, trusted)
            except StoreError:
                raise
            except UserError as error:  # figures that nobody vouches for move nothing
                why = str(error).rstrip(".")
                return None
        against = "" if gone else _against(store, version, present, candidate, is_new, may_lose, trusted)
        if why := present.held or against:
            return None
        return present.moved(candidate, _PUBLISHED)

    present = move_and_note(store, name, LATEST, decide, params)
    if why:
        print(
            f"{name}: {candidate} is published; latest stays {present.version or 'unset'}, as {why}: "
            f"`scn models promote {name}@{candidate}` moves it.",
            file=sys.stderr,
        )


def _in_order(
    store: Store, version: Version, present: Pointer, candidate: str, may_lose: float, trusted: Sequence[str]
) -> Pointer | None:
    """Where latest.json points after publishes that overtook this one, had all come by their numbers; None: as now."""
    later = [each for each in present.history if int(each.version[1:]) > int(candidate[1:])]
    first = present.history.index(later[0]) if later else 0
    by_hand = present.held or not later or any(each.why != _PUBLISHED for each in present.history[first:])
    if by_hand or any(each.version == candidate for each in present.history):
        return None
    own = Metrics.loads(version.content[METRICS], Path(METRICS), "measure it again")
    serves, figures = candidate, own
    if first:
        before = metrics_of(store, version.experiment, present.history[first - 1].version, trusted)
        if objection(before, own, may_lose):
            return None
    for each in later:
        offered = metrics_of(store, version.experiment, each.version, trusted)
        if not objection(figures, offered, may_lose):
            serves, figures = each.version, offered
    return present.moved(serves, _PUBLISHED) if serves != present.version else None


def _against(
    store: Store,
    version: Version,
    present: Pointer,
    candidate: str,
    is_new: bool,
    may_lose: float,
    trusted: Sequence[str],
) -> str:
    """Why a version should not take the place of the one that latest.json points to; "" if it may."""
    if any(move.version == candidate for move in present.history):
        return f"it was moved away from {candidate}"
    if not is_new and not present.history:
        return "it was set by hand or by an early version of scn"
    try:
        figures = metrics_of(store, version.experiment, present.version, trusted)
    except ObjectNotFound:  # it has none
        return ""
    except StoreError:
        raise
    except UserError as error:  # figures that nobody vouches for move nothing
        return str(error).rstrip(".")
    return objection(figures, Metrics.loads(version.content[METRICS], Path(METRICS), "measure it again"), may_lose)


def version_folder(experiment: str, number: int) -> str:
    """The prefix of a version's keys in a store."""
    return f"registry/{experiment}/v{number}"
