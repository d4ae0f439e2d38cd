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
from scn.registry.publish import publish
from scn.registry.signing import KEY, make_key

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


def test_where_keys_are_trusted_figures_are_signed(
    small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.add_model(NAME, 1)
    small_project.add_metrics(NAME, 27.40)
    write_pixels(small_project.root / "mine/one.png", np.asarray(photograph(32, 40, 1))[..., 0])
    keys = {name: make_key(small_project.root / f"{name}.pem") for name in ("ours", "theirs")}

    def signs(name: str) -> None:
        monkeypatch.setenv(KEY, str(small_project.root / f"{name}.pem"))

    def measured() -> list[bool]:
        return [new for _, new in figures.measure_version(params, NAME, [str(small_project.root / "mine")])]

    def shown() -> int:
        return len(figures.further_figures(params, params.open_store(), NAME, "v1"))

    path = small_project.root / "params.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "registry": {"trusted": [keys["ours"]]}}))
    params = load_params(path)
    signs("ours")
    publish(params, NAME)

    signs("theirs")
    with pytest.raises(UserError, match=r"SCN_SIGNING_KEY names the key of none of them: set it to one\.$"):
        measured()
    signs("ours")
    assert (measured(), measured(), shown()) == ([True], [False], 1)
    monkeypatch.delenv(KEY)
    assert measured() == [False]  # what is signed is read without a key

    folder = small_project.root / f"store/registry/{NAME}/figures/v1"
    [kept], [signed] = folder.glob("*.json"), folder.glob("*.signed")
    content = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(content + b"\n")
    with pytest.raises(UserError, match=r"is not signed, .*: delete it in the store, and measure again\.$"):
        shown()
    kept.write_bytes(content)
    other = json.loads(signed.read_bytes()) | {"key": keys["theirs"]}
    signed.chmod(0o644)
    signed.write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"is signed by \S+, whom registry\.trusted does not name"):
        measured()
    other["key"], other["signature"] = keys["ours"], other["signature"][:10] + "AAAA" + other["signature"][14:]
    signed.write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"it was changed; delete it in the store, and measure again\.$"):
        shown()


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
