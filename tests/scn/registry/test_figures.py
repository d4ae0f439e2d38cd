"""`scn models measure`: figures of a published version on further images, published once, shown with it."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml

import scn.cli
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.imaging.image_io import write_pixels
from scn.registry import figures
from scn.registry.manifest import sha256
from scn.registry.publish import publish, sign
from scn.registry.signing import KEY, make_key
from scn.storage.base import Content
from scn.storage.local import FileStore

NAME = "dn-s25"


def test_figures_on_further_images_are_published_with_the_version(
    small_project: Any,
    photograph: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small_project.add_model(NAME, 1)
    small_project.add_metrics(NAME, 27.40)
    publish(small_project.params, NAME)
    monkeypatch.chdir(small_project.root)
    write_pixels(small_project.root / "mine/one.png", np.asarray(photograph(32, 40, 1))[..., 0])

    def models(*words: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["scn", "models", *words])
        with pytest.raises(SystemExit) as end:
            scn.cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    [first] = json.loads(models("measure", NAME, "--images", "mine", "--json"))
    assert (first["set"], first["images"], first[""]) == ("mine", "1", "measured now")
    assert first["method"] == f"{NAME}@v1"
    [again] = json.loads(models("measure", NAME, "--images", "mine", "--json"))
    assert again == {**first, "": "known"}
    [ensemble] = json.loads(models("measure", NAME, "--images", "mine", "--self-ensemble", "--json"))
    assert (ensemble["method"], ensemble[""]) == (f"{NAME}@v1, self-ensemble", "measured now")

    write_pixels(small_project.root / "mine/two.png", np.asarray(photograph(40, 32, 1))[..., 0])
    [other] = json.loads(models("measure", NAME, "--images", "mine", "--json"))  # the set is another
    assert (other["images"], other[""]) == ("2", "measured now")
    since = json.loads(models("show", NAME, "--json"))["measured_since"]
    assert sorted(each["images"] for each in since) == ["1", "1", "2"]
    assert first["PSNR / SSIM"] in models("show", f"{NAME}@v1")
    kept = small_project.root / f"store/registry/{NAME}/figures/v1"
    assert len(list(kept.glob("dn-grey-v1-*.json"))) == 3


class Signing:
    """A project whose v1 is signed by "ours", the key that is trusted, and a folder of images."""

    def __init__(self, project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self._project, self._patch = project, monkeypatch
        self.folder = project.root / f"store/registry/{NAME}/figures/v1"
        self.keys = {name: make_key(project.root / f"{name}.pem") for name in ("ours", "theirs")}
        project.add_model(NAME, 1)
        project.add_metrics(NAME, 27.40)
        write_pixels(project.root / "mine/one.png", np.asarray(photograph(32, 40, 1))[..., 0])
        self.trust("ours")
        self.sign("ours")
        publish(self.params, NAME)

    def trust(self, name: str) -> None:
        path = self._project.root / "params.yaml"
        registry = {"trusted": [self.keys[name]]}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "registry": registry}))
        self.params = load_params(path)

    def sign(self, name: str) -> None:
        self._patch.setenv(KEY, str(self._project.root / f"{name}.pem"))

    def measured(self) -> list[bool]:
        sets = [str(self._project.root / "mine")]
        return [new for _, new in figures.measure_version(self.params, f"{NAME}@v1", sets)]

    def shown(self) -> int:
        return len(figures.further_figures(self.params, self.params.open_store(), NAME, "v1"))


@pytest.fixture
def signing(small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Signing:
    return Signing(small_project, photograph, monkeypatch)


def test_where_keys_are_trusted_figures_are_signed(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, folder, measured, shown = signing.keys, signing.folder, signing.measured, signing.shown
    signing.sign("theirs")
    with pytest.raises(UserError, match=r"SCN_SIGNING_KEY names the key of none of them: set it to one\.$"):
        measured()
    signing.sign("ours")
    assert (measured(), measured(), shown()) == ([True], [False], 1)
    monkeypatch.delenv(KEY)
    assert measured() == [False]  # what is signed is read without a key

    [kept], [signed] = folder.glob("*.json"), folder.glob("*.signed")
    content = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(content + b"\n")
    refusal = r"is signed by nobody whom registry\.trusted names: delete it in the store, and measure again\.$"
    with pytest.raises(UserError, match=refusal):
        shown()
    kept.write_bytes(content)
    other = json.loads(signed.read_bytes()) | {"key": keys["theirs"]}
    signed.chmod(0o644)
    signed.write_text(json.dumps(other))
    with pytest.raises(UserError, match=refusal):
        measured()
    other["key"], other["signature"] = keys["ours"], other["signature"][:10] + "AAAA" + other["signature"][14:]
    signed.write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"it was changed; delete it in the store, and measure again\.$"):
        shown()


def test_a_false_signature_hides_no_true_one(signing: Signing) -> None:
    signing.measured()
    [kept], [signed] = signing.folder.glob("*.json"), signing.folder.glob("*.signed")
    true = json.loads(signed.read_bytes())
    changed = json.dumps(true | {"signature": true["signature"][:10] + "AAAA" + true["signature"][14:]})
    for content in (changed, "no JSON", json.dumps(true | {"key": signing.keys["theirs"]})):
        false = signed.with_name(f"{sha256(kept.read_bytes())}-0.signed")
        assert false < signed
        false.write_text(content)
        assert (signing.shown(), signing.measured()) == (1, [False])


@pytest.mark.parametrize("old", [True, False])
def test_after_a_change_of_keys_figures_can_be_measured_again(signing: Signing, old: bool) -> None:
    signing.measured()
    [kept], [signed] = signing.folder.glob("*.json"), signing.folder.glob("*.signed")
    if old:  # as it was named before several keys could sign the same figures
        signed.rename(signed.with_name(f"{sha256(kept.read_bytes())}.signed"))
    assert signing.shown() == 1
    signing.trust("theirs")
    signing.sign("theirs")
    (signing.folder.parents[1] / "v1/signature.json").unlink()
    sign(signing.params, NAME, "v1")
    with pytest.raises(UserError, match=r"delete it in the store, and measure again\.$"):
        signing.shown()
    kept.unlink()
    assert (signing.measured(), signing.measured(), signing.shown()) == ([True], [False], 1)


def test_a_process_that_is_killed_leaves_no_figures_without_a_signature(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = FileStore._create, list[str]()

    def killed(store: FileStore, key: str, content: Content) -> bool:
        if written:
            raise KeyboardInterrupt
        written.append(key)
        return whole(store, key, content)

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "_create", killed)
        with pytest.raises(KeyboardInterrupt):
            signing.measured()
    assert (len(written), signing.shown()) == (1, 0)
    assert (signing.measured(), signing.shown()) == ([True], 1)


def test_figures_of_a_version_that_was_deleted_are_not_those_of_the_next_of_its_number(
    small_project: Any, photograph: Callable[..., Any]
) -> None:
    write_pixels(small_project.root / "mine/one.png", np.asarray(photograph(32, 40, 1))[..., 0])
    params, sets, store = small_project.params, [str(small_project.root / "mine")], small_project.params.open_store()
    for seed in (1, 2):
        small_project.add_model(NAME, seed)
        small_project.add_metrics(NAME, 27.40)
        publish(params, NAME)
        [(measured, new)] = figures.measure_version(params, NAME, sets)
        assert new
        assert [each.mean for each in figures.further_figures(params, store, NAME, "v1")] == [measured.mean]
        for key in store.list(f"registry/{NAME}/v1/"):
            store.delete(key)
