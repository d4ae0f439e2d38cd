"""Further figures of published versions, on sets that they were not published with, as immutable objects.

    registry/<experiment>/figures/<version>/<protocol>-<hash>.json          one measurement (scn.evaluation.compare)
    registry/<experiment>/figures/<version>/<SHA-256 of that>-<key>.signed  who signed it, where SCN_SIGNING_KEY is set

The hash is of all that decides the figures: images, code, protocol, precision and the way of restoring. So what was
measured is found again, and a new set, protocol or code makes a new object beside it. Where `registry.trusted` names
keys, figures that none of them has signed are refused, as versions are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.evaluation.code import evaluation_code
from scn.evaluation.compare import Measurement, Options, compare
from scn.evaluation.photographs import open_photographs
from scn.evaluation.protocols import protocols_of
from scn.inference.model_config import WEIGHTS
from scn.registry.manifest import MANIFEST, read_manifest, sha256
from scn.registry.reference import load, parse
from scn.registry.signing import KEY, Signature, check, public_key, signature, signing_key
from scn.storage.base import ObjectExists, ObjectNotFound, Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CURE = "delete it in the store, and measure again"


def measure_version(
    params: Params, reference: str, sets: Sequence[str] = (), *, self_ensemble: bool = False
) -> Iterator[tuple[Measurement, bool]]:
    """Measures a published version on sets of images, and publishes the figures with it.

    Args:
        reference: a published version, whose experiment params.yaml has.
        sets: corpora or folders of images; empty: the experiment's evaluation sets.
        self_ensemble: the results of the 8 flips and rotations are averaged.
    Yields:
        a measurement of each set, and True if it was made now, False if it was found in the store.
    Raises:
        UserError: if there is no such version, a set can't be measured, or nobody whom registry.trusted names has
            signed what is found or would sign what is measured.
    """
    store = params.open_store(reference.partition("@")[0])
    name, version = parse(reference, store, params)
    experiment = params.experiment(name)
    model = load(f"{name}@{version}", params_file=params.path)
    rules = protocols_of(experiment.task)
    code = evaluation_code(model.config["architecture"]["name"], of_files=True)
    weights = sha256((model.folder / WEIGHTS).read_bytes())
    for of_set in sets or experiment.data.evaluation:
        decided = {
            "weights_sha256": weights,  # a version that was deleted, as it was damaged, gives its number to the next
            "level": experiment.level,
            "set": of_set,
            "data_sha256": open_photographs(params, experiment, of_set).corpus.sha256,
            "code_sha256": code,
            "protocols": [rule.name for rule in rules],
            "precision": experiment.evaluate.precision,
            "edges": experiment.data.edges,
            "self_ensemble": self_ensemble,
        }
        key = f"registry/{name}/figures/{version}/{rules[0].name}-{digest(decided)[:16]}.json"
        try:
            yield _read(params, store, key), False
            continue
        except ObjectNotFound:
            signing = _signing(params)
        [measured] = compare(
            params,
            experiments=[name],
            sets=[of_set],
            methods=[f"{name}@{version}"],
            load=lambda _: model,
            options=Options(self_ensemble=self_ensemble),
        )
        data = measured.dumps()
        if signing:  # before the figures, so that they are signed as soon as they exist
            by = sha256(public_key(signing).encode())[:8]  # in the name, as several keys may sign the same figures
            signed = signature(signing, _statement(key, data)).dumps()
            store.put(f"{_signatures(key, data)}-{by}.signed", signed, names_content=True)
        try:
            store.put(key, data)
        except ObjectExists:  # another process was faster, on another kind of processor
            measured = _read(params, store, key)
        yield measured, True


def further_figures(params: Params, store: Store, experiment: str, version: str) -> list[Measurement]:
    """Returns what was measured of a version after it was published, by set; a set may be there more than once.

    Raises:
        UserError: if a file is damaged, or nobody whom registry.trusted names has signed it.
    """
    keys = [key for key in store.list(f"registry/{experiment}/figures/{version}/") if key.endswith(".json")]
    weights = read_manifest(store.get(f"registry/{experiment}/{version}/{MANIFEST}"), version)[WEIGHTS]["sha256"]
    found = [_read(params, store, key) for key in keys]
    found = [each for each in found if each.provenance.weights_sha256 == weights]  # or they are an earlier one's
    return sorted(found, key=lambda each: (each.set, each.self_ensemble, each.protocol))


def row(measured: Measurement) -> dict[str, str]:
    """Returns a measurement as the row of a table."""
    return {
        "set": measured.set,
        "images": str(len(measured.images)),
        "protocol": measured.protocol,
        "method": measured.title,
        "PSNR / SSIM": str(measured.mean),
        "code": measured.provenance.code_sha256[:9],
    }


def _read(params: Params, store: Store, key: str) -> Measurement:
    data = store.get(key)
    if trusted := params.registry.trusted:
        what = f"What {store.url}/{key} says"
        refusal = UserError(f"{what} is signed by nobody whom registry.trusted names: {CURE}.")
        for name in store.list(_signatures(key, data)):  # before several keys could sign: <SHA-256>.signed
            signed = store.get(name)
            try:
                by = Signature.loads(signed, Path(name), CURE)
                if by.key in trusted:
                    check(by, _statement(key, data), trusted, what, f"it was changed; {CURE}")
                    break
            except UserError as error:  # anybody who can write there may have put a false one beside a true one
                refusal = error
        else:
            raise refusal
    return Measurement.loads(data, Path(key), CURE)


def _signing(params: Params) -> "Ed25519PrivateKey | None":
    """The key that signs figures; None where it is not set and nobody asks. Raises UserError if it would not count."""
    key, trusted = signing_key(), params.registry.trusted
    if trusted and (not key or public_key(key) not in trusted):
        raise UserError(
            f"registry.trusted names who may sign figures, and {KEY} names the key of none of them: set it to one."
        )
    return key


def _signatures(key: str, data: bytes) -> str:
    """What the names of all signatures of these figures begin with."""
    return f"{key.rpartition('/')[0]}/{sha256(data)}"


def _statement(key: str, data: bytes) -> bytes:
    return f"scn figures 1\n{key}\n{sha256(data)}\n".encode()
