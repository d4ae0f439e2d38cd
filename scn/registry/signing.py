"""Signs with Ed25519, and checks who signed: published versions here, and pointers in scn.registry.trust.

A version's signature is over the experiment, its number and the hash of its manifest: a manifest that was changed, or
one of an older version that was put in its place, does not have it. It lies beside the manifest, as signature.json.
"""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.inference.records import Record
from scn.registry.manifest import MANIFEST, Files, read_manifest, sha256
from scn.storage.base import ObjectNotFound, Store

if TYPE_CHECKING:  # imported where something is signed or checked: a machine that only trains need not have it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "signature.json"
KEY = "SCN_SIGNING_KEY"
"""Environment variable with the path of the private key, in PEM; where it is not set nothing is signed."""


class Signature(Record):
    """The content of signature.json."""

    key: str
    """The public key, 32 bytes in Base64."""
    signature: str
    """The signature, 64 bytes in Base64."""


def make_key(path: Path) -> str:
    """Writes a new private key, which only its owner may read, and returns the public key for `registry.trusted`.

    Raises:
        UserError: if there is a file already, or it can't be written.
    """
    if path.exists():
        raise UserError(f"{path} is there already: name a new file for the key.")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    write_atomically(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), private=True)
    return public_key(key)


def signing_key() -> "Ed25519PrivateKey | None":
    """Returns the key that SCN_SIGNING_KEY names; None if it is not set. Raises UserError if it names no such key."""
    if not (name := os.environ.get(KEY)):
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(name).read_bytes(), None)
    except OSError as error:
        raise UserError(f"{name}, which {KEY} names, can't be read ({error.strerror}): correct or unset it.") from None
    except TypeError:  # cryptography's word for a key that is encrypted
        raise UserError(
            f"{name}, which {KEY} names, has a passphrase: let {KEY} name a copy without one, which `openssl pkey -in "
            "FILE -out COPY` writes."
        ) from None
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{name}, which {KEY} names, is no Ed25519 key in PEM: make one with `scn models key FILE`.")
    return key


def signature(key: "Ed25519PrivateKey", statement: bytes) -> Signature:
    """Returns the signature of a statement."""
    return Signature(key=public_key(key), signature=base64.b64encode(key.sign(statement)).decode())


def signed(key: "Ed25519PrivateKey", experiment: str, version: str, manifest: bytes) -> bytes:
    """Returns the content of signature.json for a version, such as "v3", with this manifest."""
    return signature(key, _statement(experiment, version, manifest)).dumps()


def check_signature(store: Store, experiment: str, version: str, manifest: bytes, trusted: Sequence[str]) -> None:
    """Checks that somebody who is trusted has signed a version in the store; without trusted keys nothing is checked.

    Args:
        manifest: the version's manifest, as it is in the store.
        trusted: public keys, each 32 bytes in Base64.
    Raises:
        UserError: if it is not signed, by another key, or its manifest is not the one that was signed.
    """
    if not trusted:
        return
    name, key = f"{experiment}@{version} in {store.url}", f"registry/{experiment}/{version}/{SIGNATURE}"
    try:
        found = Signature.loads(store.get(key), Path(key), "delete it and sign the version again")
    except ObjectNotFound:
        raise UserError(
            f"{name} is not signed, and registry.trusted names who must have: sign it with `scn models sign`."
        ) from None
    wrong = "it was changed, or is that of another version; use another version, and find out who can write there"
    check(found, _statement(experiment, version, manifest), trusted, f"The manifest of {name}", wrong)


def vouched(store: Store, experiment: str, version: str, name: str, trusted: Sequence[str]) -> bytes:
    """Returns a file of a published version as its manifest names it; with trusted keys that is signed.

    Raises:
        UserError: if the file is not the manifest's, or as `check_signature`.
        ObjectNotFound: if there is no such file, or, with trusted keys, no manifest.
    """
    folder, files = f"registry/{experiment}/{version}", Files()
    try:
        manifest = store.get(f"{folder}/{MANIFEST}")
        check_signature(store, experiment, version, manifest, trusted)
        files = read_manifest(manifest, f"{folder}/{MANIFEST}")
    except ObjectNotFound:
        if trusted:
            raise
    return as_named(store, experiment, version, name, files, all_named=bool(trusted))


def as_named(store: Store, experiment: str, version: str, name: str, files: Files, *, all_named: bool = True) -> bytes:
    """Returns a file of a published version as `files`, which its manifest names, have it.

    Args:
        all_named: a file that they don't name is not the manifest's.
    Raises:
        UserError: if the file is not the manifest's.
        ObjectNotFound: if there is no such file.
    """
    folder = f"registry/{experiment}/{version}"
    data = store.get(f"{folder}/{name}")
    if files.get(name, {"sha256": "" if all_named else sha256(data)})["sha256"] != sha256(data):
        raise UserError(
            f"{name} of {experiment}@{version} in {store.url} is not the one that its manifest names: copy "
            f"{folder} back from a back-up, or use another version."
        )
    return data


def check(found: Signature, statement: bytes, trusted: Sequence[str], what: str, wrong: str) -> None:
    """Checks that a signature is of this statement, and by somebody who is trusted.

    Args:
        what: what is signed, for the messages.
        wrong: what a wrong signature means, and what to do, for its message.
    Raises:
        UserError: if it is not.
    """
    if found.key not in trusted:
        raise UserError(f"{what} is signed by {found.key}, whom registry.trusted does not name: use another version.")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(found.key, validate=True))
        public.verify(base64.b64decode(found.signature, validate=True), statement)
    except (InvalidSignature, ValueError):
        raise UserError(f"{what} is not the one that was signed: {wrong}.") from None


def public_key(key: "Ed25519PrivateKey") -> str:
    """Returns the public part of a key: 32 bytes in Base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _statement(experiment: str, version: str, manifest: bytes) -> bytes:
    return f"scn version 1\n{experiment}\n{version}\n{sha256(manifest)}\n".encode()
