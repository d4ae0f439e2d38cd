"""Signed versions: who is not trusted, what was changed, and an older version in a newer one's place are refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

import scn.zoo
from scn.config.params import Params, load_params
from scn.core.errors import UserError
from scn.registry import following
from scn.registry.following import FollowingModels
from scn.registry.manifest import read_manifest
from scn.registry.promote import promote, rollback
from scn.registry.publish import latest, publish, receipt_of, sign
from scn.registry.reference import list_models, load, resolve
from scn.registry.several import Models
from scn.registry.show import about, compared, text, verified
from scn.registry.signing import KEY, make_key
from scn.registry.summary import _before
from scn.storage.local import FileStore

NAME = "dn-s25"


@pytest.fixture
def project(small_project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """v1 is not signed, v2 and v3 are."""
    monkeypatch.delenv(KEY, raising=False)
    for seed in range(3):
        small_project.add_model(NAME, seed)
        small_project.add_metrics(NAME, 27.0 + seed)
        publish(small_project.params, NAME)
        if seed == 0:
            small_project.public = make_key(small_project.root / "key.pem")
            monkeypatch.setenv(KEY, str(small_project.root / "key.pem"))
    return small_project


def trusting(project: Any, *keys: str) -> Params:
    path = project.root / "params.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "registry": {"trusted": list(keys)}}))
    return load_params(path)


def folder(project: Any, version: str) -> Path:
    return Path(project.root / "store/registry" / NAME / version)


def test_what_is_signed_by_whom_is_trusted_is_loaded(project: Any) -> None:
    params = trusting(project, project.public)
    assert resolve(NAME, params)[1] == "v3"
    assert resolve(f"{NAME}@v2", params)[1] == "v2"
    with pytest.raises(
        UserError, match=r"^dn-s25@v1 in file://\S+ is not signed, .*: sign it with `scn models sign`\.$"
    ):
        resolve(f"{NAME}@v1", params)
    sign(params, NAME, "v1")
    assert resolve(f"{NAME}@v1", params)[1] == "v1"


def test_a_new_key_is_its_owners_alone_and_no_other_file_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.umask", lambda _: pytest.fail("files of other threads would be private, too"))
    make_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


def test_without_trusted_keys_nothing_is_asked_for(project: Any) -> None:
    assert resolve(f"{NAME}@v1", trusting(project))[1] == "v1"


def test_another_key_is_refused(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_key(project.root / "other.pem")
    with pytest.raises(UserError, match=r"is signed by \S+, whom registry\.trusted does not name"):
        resolve(NAME, trusting(project, other))
    monkeypatch.setenv(KEY, str(project.root / "other.pem"))
    with pytest.raises(UserError, match="dn-s25@v3 is signed already, by another key"):
        sign(project.params, NAME, "v3")
    signature = json.loads((folder(project, "v3") / "signature.json").read_text())
    (folder(project, "v3") / "signature.json").write_text(json.dumps({**signature, "key": other}))
    with pytest.raises(UserError, match="is not the one that was signed"):
        resolve(f"{NAME}@v3", trusting(project, other))


def test_a_changed_manifest_and_an_older_one_in_its_place_are_refused(project: Any) -> None:
    params = trusting(project, project.public)
    shutil.rmtree(folder(project, "v3"))
    shutil.copytree(folder(project, "v2"), folder(project, "v3"))  # an older version, whole and signed, as v3
    with pytest.raises(UserError, match=r"The manifest of dn-s25@v3 .* was changed, or is that of another version"):
        resolve(NAME, params)
    path = folder(project, "v2") / "manifest.json"
    path.write_text(path.read_text().replace('"bytes": ', '"bytes": 1'))
    with pytest.raises(UserError, match=r"The manifest of dn-s25@v2 .* is not the one that was signed"):
        resolve(f"{NAME}@v2", params)


ENCRYPTED = Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "can't be read"), (b"no key", "is no Ed25519 key"), (ENCRYPTED, "has a passphrase: let .* a copy without")],
)
def test_a_key_that_is_none_is_one_sentence(
    project: Any, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    path = project.root / "wrong.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(KEY, str(path))
    with pytest.raises(UserError, match=rf"wrong\.pem, which SCN_SIGNING_KEY names, {why}"):
        sign(project.params, NAME, "v3")
    monkeypatch.delenv(KEY)
    with pytest.raises(UserError, match="SCN_SIGNING_KEY is not set"):
        sign(project.params, NAME, "v3")
    with pytest.raises(UserError, match="'abc' is no public key: take what `scn models key FILE` prints"):
        trusting(project, "abc")


def pointer_file(project: Any, name: str = "latest") -> Path:
    return Path(project.root / "store/registry" / NAME / f"{name}.json")


def test_what_moves_latest_without_a_key_moves_nobody(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params = trusting(project, project.public)
    signed = pointer_file(project).read_text()
    assert resolve(NAME, params)[1] == "v3"
    pointer_file(project).write_text(signed.replace('"version": "v3",\n "held"', '"version": "v2",\n "held"'))
    with pytest.raises(
        UserError, match=r"What dn-s25@latest points to .* is not the one that was signed: it was changed"
    ):
        resolve(NAME, params)
    pointer_file(project).write_text('{"version": "v2"}')
    with pytest.raises(
        UserError, match=r"What dn-s25@latest points to .* is not signed, .*: name a version, as dn-s25@v2"
    ):
        resolve(NAME, params)
    pointer_file(project).unlink()
    with pytest.raises(
        UserError, match=r"What dn-s25@latest .* is older than what was seen here before \(v3, moved at "
    ):
        resolve(NAME, params)
    assert resolve(f"{NAME}@v3", params)[1] == "v3"
    monkeypatch.delenv(KEY)
    for move in (lambda: promote(params, f"{NAME}@v2"), lambda: rollback(params, NAME)):
        with pytest.raises(UserError, match=r"Nobody would follow this move, .*: set SCN_SIGNING_KEY to the file"):
            move()


def test_an_older_state_of_a_pointer_is_refused_where_a_newer_one_was_seen(project: Any) -> None:
    params = trusting(project, project.public)
    promote(params, f"{NAME}@v2", "production", reason="tried")
    older = pointer_file(project, "aliases/production").read_text()
    promote(params, f"{NAME}@v3", "production")
    assert resolve(f"{NAME}@production", params)[1] == "v3"
    pointer_file(project, "aliases/production").write_text(older)
    with pytest.raises(UserError, match=r"is older than what was seen here before \(v3, moved at \S+\): find out who"):
        resolve(f"{NAME}@production", params)
    # A move repairs it, and goes on from what was seen.
    promote(params, f"{NAME}@v3", "production", reason="repaired")
    assert resolve(f"{NAME}@production", params)[1] == "v3"
    history = json.loads(pointer_file(project, "aliases/production").read_text())["history"]
    assert [move["version"] for move in history] == ["v2", "v3", "v3"]
    assert rollback(params, NAME, "production").version == "v2"
    assert resolve(f"{NAME}@production", params)[1] == "v2"  # signed by who may: no attack


def test_a_signature_is_of_one_name(project: Any) -> None:
    params = trusting(project, project.public)
    promote(params, f"{NAME}@v2", "old", reason="kept")
    pointer_file(project).write_text(pointer_file(project, "aliases/old").read_text())
    with pytest.raises(UserError, match=r"What dn-s25@latest points to .* is not the one that was signed"):
        resolve(NAME, params)


def test_rollback_from_a_history_that_is_not_trusted_asks_where_to(project: Any) -> None:
    params = trusting(project, project.public)
    unsigned = {**json.loads(pointer_file(project).read_text()), "signature": None}
    pointer_file(project).write_text(json.dumps(unsigned))
    with pytest.raises(UserError, match=r"The history of dn-s25@latest can't be trusted: say where to, with --to vN\."):
        rollback(params, NAME)
    assert rollback(params, NAME, to="v2").version == "v2"
    assert resolve(NAME, params)[1] == "v2"


def test_a_publish_without_a_trusted_key_does_not_serve(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be loaded by nobody."""
    params = trusting(project, project.public)
    monkeypatch.delenv(KEY)
    project.add_model(NAME, 9)
    project.add_metrics(NAME, 40.0)
    assert publish(params, NAME).version == "v4"
    assert resolve(NAME, params)[1] == "v3"
    assert "latest stays v3, as registry.trusted names whose moves count, and SCN_SIGNING_KEY names" in (
        capsys.readouterr().err
    )


def test_who_deletes_versions_does_not_choose_what_ships(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder(project, "v1"), scn.zoo.FOLDER / NAME)
    params = trusting(project, project.public)
    monkeypatch.setattr(following, "HEED_S", -1.0)
    models = FollowingModels("cpu", params.path)
    before = models.load(NAME)
    assert before.version == "v3"
    for manifest in folder(project, "").glob("v*/manifest.json"):
        manifest.unlink()
    refusal = (
        r"^dn-s25 has no version in file://\S+, but had a signed one when it was last seen here: copy registry/dn-s25"
    )
    with pytest.raises(UserError, match=refusal):
        load(NAME, "cpu", params_file=params.path)
    assert models.load(NAME) is before
    shutil.rmtree(params.root / ".scn/cache/pointers" / NAME)  # as the sentence says, where it was meant
    assert load(NAME, "cpu", params_file=params.path).version == ""


def test_figures_that_nobody_signed_move_nothing(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`latest` is signed by who publishes: what the figures of the version before say decides it."""
    params = trusting(project, project.public)
    path = folder(project, "v3") / "metrics.json"
    path.write_bytes(path.read_bytes().replace(b": 30.5", b": 10.5"))
    project.add_model(NAME, 9)
    project.add_metrics(NAME, 20.0)
    assert publish(params, NAME).version == "v4"
    why = r"metrics\.json of dn-s25@v3 in file://\S+ is not the one that its manifest names"
    assert re.search(f"latest stays v3, as {why}", capsys.readouterr().err)
    with pytest.raises(UserError, match=rf"^{why}: .*; or give a --reason, which is kept\.$"):
        promote(params, f"{NAME}@v4")
    with pytest.raises(UserError, match=f"^{why}"):
        compared(trusting(project), f"{NAME}@v3", f"{NAME}@v4")
    manifest = folder(project, "v3") / "manifest.json"  # the hash in it mended, too
    content = json.loads(manifest.read_bytes())
    content["files"]["metrics.json"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))
    for compare in (compared, lambda *_: promote(params, f"{NAME}@v4")):
        with pytest.raises(UserError, match=r"^The manifest of dn-s25@v3 .* is not the one that was signed"):
            compare(params, f"{NAME}@v3", f"{NAME}@v4")
    compared(trusting(project), f"{NAME}@v3", f"{NAME}@v4")
    assert latest(params.open_store(), NAME) == "v3"


def test_figures_that_the_signed_manifest_does_not_name_are_nobodys(project: Any) -> None:
    params = trusting(project, project.public)
    manifest = folder(project, "v3") / "manifest.json"
    content = json.loads(manifest.read_bytes())
    del content["files"]["metrics.json"]
    manifest.write_text(json.dumps(content))
    (folder(project, "v3") / "signature.json").unlink()
    sign(params, NAME, "v3")
    with pytest.raises(UserError, match=r"^metrics\.json of dn-s25@v3 in \S+ is not the one that its manifest names"):
        compared(params, f"{NAME}@v2", f"{NAME}@v3")
    compared(trusting(project), f"{NAME}@v2", f"{NAME}@v3")


def test_what_auto_takes_is_signed(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    params = trusting(project, project.public)
    for version in ("v1", "v3"):  # v1 is not signed at all, v3's is not the one that was
        path = folder(project, version) / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "task": "car", "level": 10}))
    listed = [(entry.version, entry.task, entry.level) for entry in list_models(params_file=params.path)]
    assert listed == [("v1", "", None), ("v2", "dn", 25)]
    assert re.match(r"config\.json of dn-s25@v3 in \S+ is not the one that its manifest", capsys.readouterr().err)
    assert [(each.task, each.level) for each in Models("cpu", params.path).candidates()] == [("dn", 25)]


def test_of_each_version_that_is_listed_four_files_are_read_once(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params, read, reads = trusting(project, project.public), FileStore._read, list[str]()
    sign(params, NAME, "v1")
    monkeypatch.setattr(FileStore, "_read", lambda self, key, file: (reads.append(key), read(self, key, file))[1])
    assert [entry.level for entry in list_models(params_file=params.path)] == [25, 25, 25]
    files = ("config.json", "manifest.json", "metrics.json", "signature.json")
    expected = [f"registry/{NAME}/v{number}/{file}" for number in (1, 2, 3) for file in files]
    assert sorted(key for key in reads if key.startswith(f"registry/{NAME}/v")) == expected


def test_a_name_that_is_not_trusted_is_no_fact(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    params = trusting(project, project.public)
    move = {"version": "v2", "at": "2026-01-01", "by": "boss@hq", "why": "promoted: checked by hand"}
    promote(params, f"{NAME}@v2", "production")
    capsys.readouterr()
    pointer_file(project).write_text(json.dumps({"version": "v2", "history": [move]}))
    why = r"What dn-s25@latest points to in \S+ is not signed, and registry\.trusted .*\n"
    assert [each.names for each in list_models(params_file=params.path)] == [(), ("production",), ()]
    assert re.fullmatch(why, capsys.readouterr().err)
    shown = text(about(params.path, f"{NAME}@v2"))
    assert capsys.readouterr().err == ""  # it was told
    assert "names: production\n" in shown
    assert "boss@hq" not in shown


def test_what_can_not_be_noted_here_has_moved_all_the_same(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    params = trusting(project, project.public)
    seen = project.root / ".scn/cache/pointers"
    shutil.rmtree(seen, ignore_errors=True)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()  # where a folder would be made, as on a disk that is full or read-only
    project.add_model(NAME, 5)
    project.add_metrics(NAME, 31.0)
    assert publish(params, NAME).version == "v4"
    assert (project.root / f"published/{NAME}.json").is_file()
    assert promote(params, f"{NAME}@v2", reason="sharper").version == "v2"
    assert rollback(params, NAME, to="v3").version == "v3"
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(", which could not be noted here: ")[0] for line in told] == [
        f"{NAME}@latest points to {version}" for version in ("v4", "v2", "v3")
    ]


def test_verify_asks_who_has_signed(project: Any) -> None:
    params = trusting(project, project.public)
    shutil.rmtree(folder(project, "v3"))
    shutil.copytree(folder(project, "v1"), folder(project, "v3"))  # whole, and signed by nobody
    found = dict(verified(params, []))
    assert found[f"{NAME}@v2"] is None
    for version in ("v1", "v3"):
        assert re.match(
            rf"dn-s25@{version} in \S+ is not signed, and registry\.trusted", str(found[f"{NAME}@{version}"])
        )
    assert set(dict(verified(trusting(project), [])).values()) == {None}


@pytest.mark.parametrize(
    "files",
    [{"a": "sha256"}, {"a": {"sha256": 1}}, *({name: {"sha256": "0"}} for name in ("..", "a\0", "a/b", "a" * 300, ""))],
)
def test_a_manifest_names_files_and_hashes(files: Any) -> None:
    with pytest.raises(UserError, match=r"^v1/manifest\.json is no manifest of a published model"):
        read_manifest(json.dumps({"format": 1, "files": files}).encode(), "v1/manifest.json")


def test_a_manifest_of_brackets_is_none() -> None:
    with pytest.raises(UserError, match="is no manifest of a published model"):
        read_manifest(b"[" * 100_000, "v1/manifest.json")


@pytest.mark.parametrize("signature", [None, b"{}", b"theirs"])
def test_what_is_published_again_is_signed(project: Any, signature: bytes | None) -> None:
    """Somebody without a key has put the same version there, deleted its signature, or put another in its place."""
    params = trusting(project, project.public)
    path = folder(project, "v3") / "signature.json"
    path.unlink()
    if signature == b"theirs":
        path.write_bytes((folder(project, "v2") / "signature.json").read_bytes())
    elif signature:
        path.write_bytes(signature)
    with pytest.raises(UserError, match=r"not signed|sign the version again|not the one that was signed"):
        resolve(NAME, params)
    version = "v4" if signature else "v3"
    assert publish(params, NAME).version == version
    assert resolve(f"{NAME}@{version}", params)[1] == version
    assert publish(params, NAME).version == version
    if signature:
        promote(params, f"{NAME}@v4", reason="it is signed")
    assert resolve(NAME, params)[1] == version


def test_a_gain_is_told_on_figures_that_somebody_vouches_for(project: Any) -> None:
    params = trusting(project, project.public)

    def before(version: int, params: Params = params) -> str:
        found = _before(params, receipt_of(params, NAME, version, b""))
        return found[0] if found else ""

    assert (before(4), before(3), before(2)) == ("v3", "v2", "")
    path = folder(project, "v3") / "metrics.json"
    path.write_bytes(path.read_bytes().replace(b": 30.5", b": 10.5"))
    assert before(4) == before(4, trusting(project)) == "v2"
    assert before(2, trusting(project)) == "v1"


@pytest.mark.parametrize("how", ["rolled back", "promoted", "published"])
def test_nobody_without_a_key_undoes_a_move_that_was_made_here(project: Any, how: str) -> None:
    """Nothing has read the name since."""
    params = trusting(project, project.public)
    before = pointer_file(project).read_bytes()
    if how == "rolled back":
        rollback(params, NAME, reason="rings")
    elif how == "promoted":
        promote(params, f"{NAME}@v2", reason="rings")
    else:
        project.add_model(NAME, 9)
        project.add_metrics(NAME, 40.0)
        publish(params, NAME)
    pointer_file(project).write_bytes(before)
    with pytest.raises(UserError, match=r"^What dn-s25@latest .* is older than what was seen here before \(v[24], "):
        resolve(NAME, params)
