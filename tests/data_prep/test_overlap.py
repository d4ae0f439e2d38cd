"""Training images that show what is measured on: whatever was done to them they are found, and nothing else is."""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_copies import photograph, quarter

from data_prep.fingerprints import fingerprint, grey
from data_prep.overlap import Index, Overlap, find_overlaps, refusal
from data_prep.placement import Agreement, agreement
from data_prep.prepare import make_manifests
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.corpora.corpora import open_corpus, open_images
from scn.corpora.images import decode
from scn.shards.pipeline import read_samples
from scn.storage import open_store
from scn.storage.base import Store

NAMES = ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "motorcycle_left", "brick")
STORE = "file://.scn/store"


def saved(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def scaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize([round(side * factor) for side in pixels.shape[1::-1]]))


CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "quality 95": (lambda image: saved(image, 95), "a copy"),
    "quality 75": (lambda image: saved(image, 75), "a copy"),
    "grey": (grey, "a copy"),
    "mirrored": (lambda image: image[:, ::-1], "mirrored"),
    "upside down": (lambda image: image[::-1], "mirrored, turned by 180 degrees"),
    "turned": (lambda image: np.rot90(image), "turned by 90 degrees"),
    "half": (lambda image: scaled(image, 0.5), r"scaled by (1\.9|2\.0)\d"),
    "double": (lambda image: scaled(image, 2), r"scaled by 0\.(49|50|51)"),
    "quarter": (quarter, "2[456]% of it"),
    "quarter of half": (lambda image: scaled(quarter(image), 0.5), r"2[456]% of it, scaled by (1\.9|2\.0)\d"),
    "quarter, all at once": (
        lambda image: saved(np.ascontiguousarray(np.rot90(scaled(quarter(image), 0.7)[:, ::-1])), 75),
        r"2[456]% of it, mirrored, turned by 90 degrees, scaled by 1\.4\d",
    ),
}
"""Name -> what is done to an evaluation image, and a pattern of what is told of the training image that comes of it."""


def index_of(images: list[np.ndarray]) -> Index:
    return Index([[fingerprint(image), fingerprint(np.ascontiguousarray(image[:, ::-1]))] for image in images])


def shown(index: Index, train: np.ndarray, images: list[np.ndarray]) -> dict[int, Agreement]:
    """Number of every image that `train` shows -> how well they agree."""
    agreed = {
        number: agreement(grey(train), grey(images[number]), placement)
        for number, placement in index.placements(fingerprint(train))
    }
    return {number: found for number, found in agreed.items() if found and found.same_picture}


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return [photograph(name) for name in NAMES]


@pytest.fixture(scope="module")
def index(photographs: list[np.ndarray]) -> Index:
    return index_of(photographs)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_and_no_other(index: Index, photographs: list[np.ndarray], change: str) -> None:
    do, told = CHANGES[change]
    for number, original in enumerate(photographs):
        found = shown(index, np.ascontiguousarray(do(original)), photographs)
        assert list(found) == [number], NAMES[number]
        assert re.fullmatch(told, found[number].how), (NAMES[number], found[number].how)
        assert found[number].correlation > 0.97, NAMES[number]


def test_a_piece_is_found_in_the_evaluation_set_too(photographs: list[np.ndarray]) -> None:
    pieces = [np.ascontiguousarray(quarter(image)) for image in photographs]
    index = index_of(pieces)
    for number, original in enumerate(photographs):
        found = shown(index, original, pieces)
        assert list(found) == [number], NAMES[number]
        assert found[number].how == "with more around it"


def test_two_pieces_that_share_a_part_are_found(photographs: list[np.ndarray]) -> None:
    for name in ("astronaut", "coffee", "camera"):
        image = photograph(name)
        left, right = image[:, : image.shape[1] * 6 // 10], image[:, image.shape[1] * 4 // 10 :]
        found = shown(index_of([left]), np.ascontiguousarray(right), [left])
        assert re.fullmatch("3[2345]% of it", found[0].how), (name, found[0].how)


def flat(height: int, width: int) -> np.ndarray:
    return np.full((height, width), 90, np.uint8)


def ramp(height: int, width: int, turn: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.uint8(np.clip(x * 255 / width * np.cos(turn) + y * 255 / height * np.sin(turn), 0, 255))


def test_pictures_that_only_look_alike_are_not_found(index: Index, photographs: list[np.ndarray]) -> None:
    """The other picture of a stereo pair, other textures and skies, flat images, ramps and noise."""
    noise = [np.random.default_rng(seed).integers(0, 256, (200, 300), np.uint8) for seed in range(4)]
    smooth = [scaled(one[:6, :9], 40) for one in noise]
    ramps = [ramp(200, 300, turn) for turn in (0.2, 0.4, 0.5)]
    others = [photograph(name) for name in ("motorcycle_right", "grass", "gravel", "clock_motion")]
    assert not [
        (number, list(found))
        for number, image in enumerate([*others, *noise[2:], *smooth[2:], *ramps[1:], flat(200, 300)])
        if (found := shown(index, image, photographs))
    ]
    measured = [*noise[:2], *smooth[:2], ramps[0], flat(150, 300)]
    index = index_of(measured)
    assert not [
        (number, list(found))
        for number, image in enumerate([*photographs, *others, *noise[2:], *smooth[2:], *ramps[1:], flat(200, 300)])
        if (found := shown(index, image, measured))
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (15, 40), (40, 40), (3000, 20)])
def test_images_of_any_size_have_fingerprints(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    made = fingerprint(image)
    assert made.places.shape == (len(made.descriptors), 4)
    assert made.descriptors.shape[1] == 32
    found = shown(index_of([image]), image, [image])
    assert list(found) == ([0] if size == (40, 40) else [])


def test_all_are_told_at_once(planted: dict[str, str]) -> None:
    with pytest.raises(UserError) as error:
        make_manifests(load_params(), "sr-x2", workers=0)
    assert str(error.value).splitlines() == [
        "params.yaml: sr-x2: 4 training images show what is measured on:",
        *(f"  {train} shows {told}" for train, told in planted.items()),
        "Take them out of one of the corpora, or set data.overlap to leave_out, which trains without them.",
    ]
    assert not list(Path(".scn/store/shards").rglob("*.tar"))


def test_they_are_left_out_where_that_is_asked_for(
    planted: dict[str, str], configure: Callable[..., None], project: Path
) -> None:
    configure("data", overlap="leave_out")
    manifest = make_manifests(load_params(), "sr-x2", workers=0)[0]
    assert manifest.train.refused == {train: f"shows the evaluation image {told}" for train, told in planted.items()}
    names = {sample.name for sample in read_samples(open_store(STORE), manifest.train.shards, "sr-x2", 2)}
    assert names == {"a.png", "c.bmp", "e.png", "sub/b.png", "sub/d.PNG"}
    for train in planted:
        Path(train).unlink()
    configure("data", overlap="stop")
    assert make_manifests(load_params(), "sr-x2", workers=0)[0].train.content == manifest.train.content


def test_where_nothing_is_left_the_pairs_are_told(project: Path, configure: Callable[..., None]) -> None:
    configure("data", overlap="leave_out")
    with pytest.raises(UserError) as error:
        make_manifests(load_params(), "dn-s25", images="tests", workers=0)
    assert str(error.value).splitlines() == [
        "params.yaml: dn-s25 has no other image to train on: 2 training images show what is measured on:",
        *(f"  tests/{name}.png shows tests/{name}.png (the same file)" for name in ("one", "two")),
        "Take them out of one of the corpora, or train on others, too.",
    ]


def test_a_long_list_is_cut() -> None:
    pairs = [Overlap(train=f"photos/{i}.png", evaluation="tests/a.png", how="a copy") for i in range(30)]
    lines = str(refusal(pairs, "params.yaml: sr-x2")).splitlines()
    assert len(lines) == 23
    assert lines[0] == "params.yaml: sr-x2: 30 training images show what is measured on:"
    assert lines[-2] == "  and 10 more"


def test_fingerprints_are_made_once(planted: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    store, params = open_store(STORE), load_params()
    train, evaluation = open_corpus(params, "photos"), open_corpus(params, "tests")
    found = find_overlaps([train], [evaluation], store)
    assert len(found) == len(planted)
    kept = {key: store.get(key) for key in store.list("fingerprints")}
    assert len(kept) >= 2
    with monkeypatch.context() as patched:
        patched.setattr("data_prep.fingerprints.decode", lambda data, path: pytest.fail("decoded again"))
        assert find_overlaps([train], [evaluation], store) == found
    for key in kept:
        Path(".scn/store", key).write_bytes(b"damaged")
    assert find_overlaps([train], [evaluation], store) == found
    assert {key: store.get(key) for key in kept} == kept


def test_one_image_more_leaves_the_fingerprints_of_the_others(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, params, names = open_store(STORE), load_params(), list[str]()
    Path("many").mkdir()
    for number in range(300):
        Path(f"many/{number:03}.bmp").write_bytes(bmp(number))
    measured = [open_corpus(params, "tests")]

    def counted(data: bytes, path: Path) -> Any:
        names.append(path.name)
        return decode(data, path)

    monkeypatch.setattr("data_prep.fingerprints.decode", counted)
    find_overlaps([open_images(params, "many")], measured, store)
    assert len(names) == 302
    names.clear()
    Path("many/!.bmp").write_bytes(bmp(300))
    find_overlaps([open_images(params, "many")], measured, store)
    assert "!.bmp" in names
    assert len(names) < 64


def bmp(number: int) -> bytes:
    """An image of one pixel, the same on every machine."""
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 58, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
    return head + struct.pack("<I", number)


def test_an_image_that_cannot_be_decoded_is_no_concern_of_this(planted: dict[str, str]) -> None:
    Path("photos/broken.png").write_bytes(Path("photos/piece.png").read_bytes()[:-3000])
    store, params = open_store(STORE), load_params()
    found = find_overlaps([open_corpus(params, "photos")], [open_corpus(params, "tests")], store)
    assert [pair.train for pair in found] == list(planted)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Where fingerprints are kept, so that those of BSD68 are made once."""
    return open_store(f"file://{tmp_path_factory.mktemp('kept')}")


@pytest.mark.integration
def test_bsd68_lies_in_bsds500(site_corpora: Path, project: Path, kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCN_CORPORA", str(site_corpora))
    params = load_params()
    found = find_overlaps([open_corpus(params, "BSDS500/val")], [open_corpus(params, "BSD68")], kept)
    assert {pair.evaluation for pair in found} == {f"BSD68/test{number:03}.png" for number in range(1, 69)}
    assert len({pair.train for pair in found}) == 68
    assert {pair.how for pair in found} == {"a copy, correlation 1.00"}


@pytest.mark.integration
def test_the_pairs_in_the_papers_corpora(
    site_corpora: Path, project: Path, kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of Set5 and Set12 come from BSDS500; nothing else of 127 measured on is in the 591 trained on."""
    monkeypatch.setenv("SCN_CORPORA", str(site_corpora))
    params = load_params()
    train = [open_images(params, name) for name in ("T91", "Train400", "BSDS500/train")]
    evaluation = [open_images(params, name) for name in ("Set5", "Set14", "Set12", "BSD68", "LIVE1", "classic5")]
    found = find_overlaps(train, evaluation, kept)
    assert [(pair.train, pair.evaluation) for pair in found] == [
        ("BSDS500/train/12003.jpg", "Set12/04.png"),
        ("BSDS500/train/302003.jpg", "Set5/woman_GT.png"),
        ("Train400/test_020.png", "Set12/04.png"),
        ("Train400/test_135.png", "Set5/woman_GT.png"),
    ]
    assert {pair.how.split(", ")[-1] for pair in found} == {"correlation 1.00"}
