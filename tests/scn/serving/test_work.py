"""The page's restoring of one file: what can't be is told before anything is computed."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from photo_folder import picture
from PIL import Image

from scn.core.errors import UserError
from scn.inference.auto import Candidate
from scn.registry.reference import ModelEntry
from scn.serving.work import Restorer, Wanted, check_listed
from scn.storage.base import ObjectNotFound, StoreError


@pytest.fixture
def restorer(published_models: Path) -> Restorer:
    return Restorer("cpu", published_models)


@pytest.fixture
def idle(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> Restorer:
    """A restorer whose models may not compute."""

    def computing(*_: Any, **__: Any) -> None:
        raise AssertionError("this should have been refused before")

    monkeypatch.setattr(restorer.models, "choose", computing)
    return restorer


def png(height: int = 40, width: int = 52, mode: str = "RGB") -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(picture(0, height, width)).convert(mode).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.mark.parametrize(
    ("wanted", "data", "message"),
    [
        ({"as_format": "jpg"}, png(mode="RGBA"), "JPEG can't hold the transparency of this image"),
        ({"as_format": "same", "name": "a.jpg"}, png(mode="RGBA"), "JPEG can't hold the transparency of this image"),
        ({"as_format": "webp"}, png(8, 8192), "WEBP holds 16383 pixels a side, not 16384x16"),
        ({"as_format": "webp", "factor": 2.1}, png(8, 7802), "WEBP holds 16383 pixels a side, not 16385x17"),
        ({"as_format": "webp", "reference": "dn-s25", "factor": 3}, png(8, 5462), "not 16386x24"),
    ],
)
def test_a_format_that_can_not_hold_the_result_is_told_before_the_work(
    idle: Restorer, wanted: dict[str, Any], data: bytes, message: str
) -> None:
    whole = Wanted(**{"name": "a.png", "reference": "sr-x2", **wanted})
    with pytest.raises(UserError, match=message):
        idle.restore(data, whole, lambda part: None)


def test_a_result_that_the_format_just_holds_is_computed(restorer: Restorer) -> None:
    wanted = Wanted(name="a.png", reference="sr-x2", factor=1.5, as_format="webp")
    restored = restorer.restore(png(8, 10922), wanted, lambda part: None)
    assert (restored.width, restored.height) == (16383, 12)  # the network's was larger


def test_a_model_that_only_ships_has_no_versions() -> None:
    entry = ModelEntry(name="dn-s25", version="", task="dn", level=25, scale=1, source="/somewhere/zoo/dn-s25")
    check_listed("dn-s25", [entry])
    with pytest.raises(UserError, match=r"^model: dn-s25 has no version 'v1': leave @v1 out\.$"):
        check_listed("dn-s25@v1", [entry])


def test_a_model_that_can_not_be_loaded_tells_strangers_no_place(
    restorer: Restorer, published_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(published_models.parent.glob("store/registry/dn-s25/v1/*.safetensors")).unlink()
    with pytest.raises(UserError, match=r"^model: dn-s25 can't be loaded here: choose another\.$"):
        restorer.check(Wanted(name="a.png", reference="dn-s25"))
    assert "model.safetensors of dn-s25@v1 in " in capsys.readouterr().err


def test_what_auto_takes_and_can_not_load_tells_strangers_no_place(
    small_project: Any, published_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_project.of_a_newer_scn("dn-s25", "v1")
    restorer, wanted = Restorer("cpu", published_models), Wanted(name="a.png")
    restorer.check(wanted)
    for reference in ("auto", "dn-s25"):  # named: by the restorer of a second device, say, which checks nothing
        with pytest.raises(UserError, match=r"^model: dn-s25 can't be loaded here: choose another\.$"):
            restorer.restore(png(96, 96), replace(wanted, reference=reference), lambda part: None)
        assert "holds a model that this version of scn does not know" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreError("No answer from s3://models."), r"^No answer from s3://models\.$"),  # the page tells it as AWAY
        (ObjectNotFound("registry/dn-s25/v1/manifest.json is gone."), r"^model: dn-s25 can't be loaded here: choose"),
    ],
)
def test_a_store_that_is_away_is_no_fault_of_the_model(
    restorer: Restorer, monkeypatch: pytest.MonkeyPatch, error: StoreError, told: str
) -> None:
    def fails(_: str) -> None:
        raise error

    monkeypatch.setattr(restorer.models, "load", fails)
    with pytest.raises(UserError, match=told) as found:
        restorer.check(Wanted(name="a.png", reference="dn-s25"))
    assert isinstance(found.value, StoreError) == (error is found.value)


@pytest.mark.parametrize("letter", ["n", "é", "木"])
def test_a_result_has_a_name_that_a_file_may_have(letter: str) -> None:
    name = Wanted(name=f"{letter * 250}.png", reference="dn-s25", as_format="jpg").result_name
    assert 250 < len(name.encode()) <= 255
    assert name.startswith(letter * 70)
    assert name.endswith(f"{letter}-restored.jpg")


def test_a_tiny_photograph_tells_nothing_of_the_time_that_others_take(restorer: Restorer) -> None:
    restorer.rates = {"dn-s25": 3.0}
    for height, width in ((8, 8), (96, 95)):
        restorer.restore(png(height, width), Wanted(name="a.png", reference="dn-s25"), lambda part: None)
    assert restorer.rates == {"dn-s25": 3.0}
    restorer.restore(png(96, 96), Wanted(name="a.png", reference="dn-s25"), lambda part: None)
    assert restorer.rates != {"dn-s25": 3.0}


def test_the_log_has_no_password_of_a_store(
    restorer: Restorer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(_: str) -> None:
        raise UserError("No answer from http://me:secret@host: start the service.")

    monkeypatch.setattr(restorer.models, "load", away)
    with pytest.raises(UserError, match="can't be loaded here"):
        restorer.check(Wanted(name="a.png", reference="dn-s25"))
    assert capsys.readouterr().err == "dn-s25: No answer from http://***@host: start the service.\n"


def test_luma_alone_is_estimated_at_a_third_where_channels_are_restored_each(restorer: Restorer) -> None:
    restorer.rates = {"dn-s25": 3.0, "sr-x2": 5.0}

    def seconds(reference: str) -> float | None:
        return restorer.seconds(Wanted(name="a.png", reference=reference, chroma="keep"), 1_000_000)

    assert [seconds("dn-s25"), seconds("sr-x2"), seconds("dn-s25,sr-x2")] == [1.0, 5.0, 6.0]


def test_auto_is_estimated_by_the_models_that_were_measured(restorer: Restorer) -> None:
    def seconds() -> float | None:
        return restorer.seconds(Wanted(name="a.png"), 1_000_000)

    published = Candidate(reference="dn-s50", task="dn", level=50)
    restorer.models._candidates = [*restorer.models.candidates(), published]
    assert seconds() is None
    restorer.rates = {"dn-s25": 3.0}
    assert seconds() == 3.0  # and not unknown for good
    restorer.rates["dn-s50"] = 4.0
    assert seconds() == 4.0
