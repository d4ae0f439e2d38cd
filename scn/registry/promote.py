"""Moves what names point to: promotes a version, and rolls back."""

from scn.config.params import Params
from scn.core.errors import UserError
from scn.registry.pointers import LATEST, NOTHING, Pointer
from scn.registry.publish import is_there, metrics_of, versions
from scn.registry.reference import parse, resolve
from scn.registry.rule import objection
from scn.registry.signing import KEY
from scn.registry.trust import may_move, move_and_note, standing
from scn.storage.base import ObjectNotFound, StoreError


def promote(params: Params, reference: str, name: str = LATEST, *, reason: str = "", pin: bool = False) -> Pointer:
    """Points `latest` or an alias to a published version, which is verified and loaded first.

    Args:
        reference: `sr-x2@v3`, or whatever means a published version.
        name: `latest`, or an alias, which is made if there is none.
        reason: why; needed to make a version `latest` that the rule of params.yaml's `registry` would refuse.
        pin: no publish moves `latest` from there.
    Returns:
        what the name points to now.
    Raises:
        UserError: if there is no such version, it can't be loaded, the rule refuses it and no reason is given, or there
            are trusted keys and SCN_SIGNING_KEY names none of them.
    """
    _check_mover(params)
    store = params.open_store(publishing=True)
    experiment, version = parse(reference, store, params)
    _loaded(experiment, version, params)
    why = f"promoted: {reason}" if reason else "promoted"
    held = (f"it is pinned ({reason})" if reason else "it is pinned") if pin else ""

    def decide(found: Pointer) -> Pointer | None:
        present, sound = standing(found, experiment, name, params)
        if sound and (present.version, present.held) == (version, held):
            return None
        replaces = name == LATEST and present.version not in ("", version)
        # Whatever is whole is better than a version that is not there.
        if replaces and not reason and is_there(store, experiment, present.version):
            trusted = params.registry.trusted
            try:
                old, new = (metrics_of(store, experiment, each, trusted) for each in (present.version, version))
                against = objection(old, new, params.registry.latest_may_lose)
            except ObjectNotFound:  # the present one has none
                against = ""
            except StoreError:
                raise
            except UserError as error:
                raise UserError(f"{str(error).rstrip('.')}; or give a --reason, which is kept.") from None
            if against:
                raise UserError(
                    f"{experiment}@{version} does not take the place of {present.version}, as {against}: give a "
                    "--reason, which is kept, to do it all the same."
                )
        return present.moved(version, why, held=held)

    return move_and_note(store, experiment, name, decide, params)


def rollback(params: Params, experiment: str, name: str = LATEST, *, to: str = "", reason: str = "") -> Pointer:
    """Points `latest` or an alias back to an earlier version, which is verified and loaded first; deletes nothing.

    No publish moves `latest` from there until a version is promoted.

    Args:
        to: the version, or an alias of it; "": the one that the name pointed to before it first pointed to the present
            one, of those that are still there.
    Returns:
        what the name points to now.
    Raises:
        UserError: if there is no earlier version, it can't be loaded, or there are trusted keys and SCN_SIGNING_KEY
            names none of them.
    """
    _check_mover(params)
    store = params.open_store(publishing=True)
    parse(experiment, store)  # names what is published, if that is not

    def decide(found: Pointer) -> Pointer | None:
        present, sound = standing(found, experiment, name, params)
        if present == NOTHING:
            raise UserError(f"{experiment}@{name} points to no version: use `scn models promote`.")
        if not sound and not to:
            raise UserError(f"The history of {experiment}@{name} can't be trusted: say where to, with --to vN.")
        wanted = to or present.before(versions(store, experiment))
        if not wanted:
            raise UserError(f"{experiment}@{name} points to {present.version}, and to nothing before: use --to vN.")
        version = _loaded(experiment, wanted, params)
        why = f"rolled back from {present.version}" + (f": {reason}" if reason else "")
        return present.moved(version, why, held=f"it was {why}")

    return move_and_note(store, experiment, name, decide, params)


def _loaded(experiment: str, wanted: str, params: Params) -> str:
    """The version that is wanted, and of an alias the one that it points to; UserError if it can't be loaded here."""
    from scn.inference.handle import Model

    folder, version = resolve(f"{experiment}@{wanted}", params)
    try:
        Model(folder, "cpu")
    except UserError as error:
        raise UserError(f"{experiment}@{version}: {error}") from None
    return version


def _check_mover(params: Params) -> None:
    if why := may_move(params):
        raise UserError(f"Nobody would follow this move, as {why}: set {KEY} to the file of such a key.")
