"""An archive of the user's own: what it may take the place of."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.acquire import acquire
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.corpora.corpora import open_corpus


@pytest.fixture
def mine(project: Path, configure: Callable[..., None]) -> Path:
    """The folder of a corpus whose archive, mine.zip, is not unpacked yet."""
    configure("corpora", local={"photos": "photos", "tests": "tests", "mine": "mine.zip"})
    with zipfile.ZipFile("mine.zip", "w") as archive:
        archive.write("photos/a.png", "mine/a.png")
    Path("corpora/mine").mkdir(parents=True)
    Path("corpora/mine/theirs.png").write_bytes(Path("photos/e.png").read_bytes())
    return Path("corpora/mine")


@pytest.mark.parametrize(
    "origin",
    [
        {},
        {"archive": "mine.zip", "url": "http://127.0.0.1:9/mine.zip", "sha256": "0"},  # a download of the same name
        {"archive": "other.zip", "stamp": "", "sha256": "0"},  # of another project with the same corpora.root
    ],
)
def test_it_replaces_nothing_that_was_not_unpacked_from_it(mine: Path, origin: dict[str, str]) -> None:
    if origin:
        (mine / ".origin.json").write_text(json.dumps(origin))
    with pytest.raises(UserError, match=r"mine, where .*mine.zip would be unpacked, was not unpacked from it: move it"):
        acquire(load_params(), "mine")
    assert (mine / "theirs.png").read_bytes() == Path("photos/e.png").read_bytes()


def test_it_replaces_what_it_held_before(mine: Path) -> None:
    (mine / ".origin.json").write_text(json.dumps({"archive": "mine.zip", "stamp": "", "sha256": "0"}))
    acquire(load_params(), "mine")
    assert [image.name for image in open_corpus(load_params(), "mine").images] == ["a.png"]
