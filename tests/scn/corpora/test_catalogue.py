"""The catalogue of corpora: its entries, and the errors for a wrong one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.fetch import readable
from scn.core.errors import UserError
from scn.corpora.catalogue import load_catalogue

Known = Callable[..., None]
IMAGES = {
    **{"DIV2K": 900, "BSDS500": 500, "BSDS300": 300, "BSD100": 100, "T91": 91, "Train400": 400, "Set5": 5, "Set14": 14},
    **{"Urban100": 100, "Set12": 12, "BSD68": 68, "LIVE1": 29, "classic5": 5, "General100": 100, "Manga109": 109},
    **{"BSDS100": 100, "BSDS200": 200, "historical": 10, "sample": 13},
}


@pytest.mark.parametrize("name", IMAGES)
def test_the_corpora_of_the_papers_are_known(name: str) -> None:
    _, entry, splits = load_catalogue().resolve(name)
    assert sum(split.images for split in splits.values()) == IMAGES[name]
    assert entry.licence
    assert entry.use
    for split in splits.values():
        assert entry.package or (split.origins and split.tree)


def test_there_are_no_others() -> None:
    assert load_catalogue().corpora.keys() == IMAGES.keys()


def test_archives_have_mirrors_and_are_all_used() -> None:
    catalogue = load_catalogue()
    used = {o.archive for entry in catalogue.corpora.values() for s in entry.splits.values() for o in s.origins}
    assert used == catalogue.archives.keys()
    for archive in catalogue.archives.values():
        assert all(url.startswith(("https://", "http://")) for url in archive.urls)
    assert readable(catalogue.archives["DIV2K_train_HR.zip"].bytes or 0) == "3.5 GB"


def test_a_split_is_found_by_its_name_and_by_its_folder() -> None:
    catalogue = load_catalogue()
    train = catalogue.resolve("DIV2K/train")
    assert catalogue.resolve("DIV2K/DIV2K_train_HR") == train
    assert list(train[2]) == ["train"]
    assert list(catalogue.resolve("DIV2K")[2]) == ["train", "validation"]  # the low-resolution images are extra
    assert catalogue.resolve("DIV2K/DIV2K_train_LR_bicubic/X3")[2]["train-lr-x3"].images == 800


def test_an_alias_is_resolved() -> None:
    name, _, splits = load_catalogue().resolve("BSD100")
    assert (name, list(splits)) == ("BSDS500", ["val"])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Set6", r"The catalogue has no corpus 'Set6': use one of BSD100, BSD68, "),
        ("BSDS500/all", "BSDS500 of the catalogue has no split 'all': use one of test, train, val"),
        ("Set5/HR", "Set5 of the catalogue has no split 'HR': use Set5"),
    ],
)
def test_what_is_not_known_is_named(reference: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load_catalogue().resolve(reference)


ONE = {"images": 1, "origins": [{"archive": "a.zip", "folder": "a"}]}


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ({"splits": {"all": ONE}}, "wrong at corpora.mine.licence"),
        ({"licence": "", "use": "", "splits": {"all": ONE}}, r"mine comes from a.zip, which is not among the archives"),
        ({"licence": "", "use": ""}, "mine has no splits"),
        ({"licence": "", "use": "", "alias": "other"}, "mine is no alias of one of the corpora"),
        ({"licence": "", "use": "", "splits": {"all": {"images": 2, "files": {"a": "0" * 64}}}}, "files lists 1"),
        ({"licence": "", "use": "", "splits": {"all": {"images": 1, "content": "?"}}}, "wrong at .*all.content"),
    ],
)
def test_a_wrong_catalogue_is_one_sentence(known: Known, corpus: dict[str, object], expected: str) -> None:
    known(mine=corpus)
    with pytest.raises(UserError, match=expected):
        load_catalogue()


def test_an_unreadable_catalogue_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.corpora.catalogue.FILE", tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"none.yaml can't be read \(.*\): install the project again"):
        load_catalogue()
