"""The benchmark of the shards runs, at the smallest size, and says what it promises."""

from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import growth, shards
from benchmarks.measure import Row
from benchmarks.photographs import photograph


def test_generated_images_are_their_seeds_and_look_like_photographs() -> None:
    image = photograph(1, 90, 120)
    assert image.shape == (90, 120, 3)
    assert (photograph(1, 90, 120) == image).all()
    assert (photograph(2, 90, 120) != image).any()
    assert 20 < image.std() < 90


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Data's own
def test_every_section_has_its_rows(tmp_path: Path) -> None:
    rows = shards.run(tmp_path, images=3, runs=1, size=(300, 400), mib=1)
    sections = defaultdict(list)
    for row in rows:
        sections[row["section"]].append(row)
    assert {name: len(part) for name, part in sections.items()} == {
        **{"encodings": 4, "one core": 4, "workers": 6, "transfer": 6},
    }
    assert sections["encodings"][0]["mb"] > sections["encodings"][1]["mb"]
    assert all(0 < row["peer/shards"] < 2 for row in sections["one core"])
    assert not (tmp_path / "store").exists()


def test_images_of_another_size_are_not_taken_from_a_folder_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[tuple[int, int]]] = []

    def run(root: Path, images: int, runs: int, size: tuple[int, int], *_: object) -> list[Row]:
        shards.write_project(root, images, size)
        found.append([])
        for path in sorted((root / "photographs").glob("*.png")):
            with Image.open(path) as image:
                found[-1].append(image.size)
        return []

    monkeypatch.setattr(shards, "run", run)
    for size in ("40 50", "20 30", "40 50"):
        words = ["shards", "--folder", str(tmp_path / "kept"), "--images", "2", "--size", *size.split()]
        monkeypatch.setattr("sys.argv", words)
        shards.main()
    assert found == [[(50, 40)] * 2, [(30, 20)] * 2, [(50, 40)] * 2]


@pytest.mark.integration
def test_growth_counts_the_memory_of_all_processes(tmp_path: Path) -> None:
    shards.write_project(tmp_path, 3, (200, 300))
    (row,) = growth.rows(tmp_path, [2])
    assert (row["images"], row["shards"]) == (2, 2)
    assert row["peak_rss_gb"] > 0.1
    assert row["stored_gb"] > 2 * 200 * 300 * 3 / 1e9
