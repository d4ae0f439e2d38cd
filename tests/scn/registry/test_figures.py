"""`scn models measure`: figures of a published version on further images, published once, shown with it."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import scn.cli
from scn.imaging.image_io import write_pixels
from scn.registry.publish import publish

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
