"""What two of Ray's workers make is what one process makes: hashes of files, pairs that overlap, shards."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_prep.overlap import find_overlaps
from data_prep.prepare import make_manifests
from scn.config.params import load_params
from scn.core import parallel
from scn.core.errors import UserError
from scn.core.ray import start_ray, stop_ray
from scn.corpora.corpora import open_corpus
from scn.shards.manifest import Manifests
from scn.storage import open_store

pytestmark = [
    pytest.mark.integration,
    # Ray leaves files and sockets of its own processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray, with two workers at once: it takes seconds to start."""
    stop_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        start_ray(2)
        yield
    stop_ray()
    gc.collect()


@pytest.fixture
def asked(cluster: None, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """With how many workers Ray has been asked for: nothing, where `workers` is ignored."""
    found: list[int | None] = []

    def start(cpus: int | None = None, **options: Any) -> None:
        found.append(cpus)
        start_ray(cpus, **options)

    monkeypatch.setattr(parallel, "start_ray", start)
    return found


@pytest.mark.parametrize("encoding", ["npy", "png"])
def test_bytes_do_not_depend_on_the_number_of_workers(
    project: Path, configure: Callable[..., None], asked: list[int | None], encoding: str
) -> None:
    def made(workers: int) -> Manifests:
        where = f"file://{project}/store{workers}"
        return make_manifests(load_params(), "sr-x2", store_url=where, workers=workers)[0]

    configure("data", sub_image=24, stride=12, encoding=encoding, min_shards=5)
    expected = made(0)
    assert len(expected.train.shards) == 5
    assert asked == []
    assert made(2) == expected
    assert set(asked) == {2}
    for shard in expected.shards():
        assert open_store("file://store2").holds(shard.key, sha256=shard.sha256, size=shard.bytes)


def test_the_pairs_do_not_depend_on_the_number_of_workers(planted: dict[str, str], asked: list[int | None]) -> None:
    params = load_params()
    corpora = [open_corpus(params, "photos")], [open_corpus(params, "tests")]
    alone = find_overlaps(*corpora, open_store("file://one"))
    assert asked == []
    assert find_overlaps(*corpora, open_store("file://two"), 2) == alone
    assert set(asked) == {2}
    assert [pair.train for pair in alone] == list(planted)


def test_many_processes_read_the_same(project: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int | None]) -> None:
    alone = open_corpus(load_params(), "photos")
    monkeypatch.setattr("scn.corpora.reading._WORTH_S", 0)
    monkeypatch.setattr("scn.corpora.reading._GROUP", 2)
    assert open_corpus(load_params(), "photos", 2, recheck=True) == alone
    assert asked == [2]
    Path("photos/gone.png").symlink_to("nowhere")
    Image.new("L", (20, 20)).save("photos/z.png")
    with pytest.raises(UserError, match=r"^\S+/photos/gone.png is not there: put it back"):
        open_corpus(load_params(), "photos", 2)
    assert asked == [2, 2]
