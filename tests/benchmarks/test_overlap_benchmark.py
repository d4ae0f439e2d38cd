"""The benchmark of overlaps plants what it says, and counts what is found."""

import numpy as np
from PIL import Image

from benchmarks.overlap import CHANGES, planted_rows
from scn.corpora.places import package_folder


def test_every_change_is_planted_on_both_sides() -> None:
    folder = package_folder("skimage") / "data"
    originals = [np.array(Image.open(folder / name)) for name in ("coffee.png", "astronaut.png")]
    chosen = {name: CHANGES[name] for name in ("JPEG 75", "1/4 of it", "turned by 90 degrees")}
    rows = planted_rows(originals, {**chosen, "another picture": lambda image, rng: 255 - image[:60, :60]})
    assert [row["change"] for row in rows] == [name for name in (*chosen, "another picture") for _ in range(2)]
    assert [row["planted in"] for row in rows] == ["training", "evaluation"] * 4
    assert [row["found"] for row in rows] == ["2 of 2"] * 6 + ["0 of 2"] * 2
    assert {row["others"] for row in rows} == {0}
    assert all(row["least correlation"] > 0.97 for row in rows[:6])


def test_changes_change_what_they_say() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    shapes = {name: change(image, np.random.default_rng(0)).shape for name, change in CHANGES.items()}
    assert shapes["grey"] == (80, 120)
    assert shapes["1/4 of it"] == (40, 60, 3)
    assert shapes["1/25 of it"] == (16, 24, 3)
    assert shapes["scaled by 2"] == (160, 240, 3)
    assert shapes["turned by 90 degrees"] == (120, 80, 3)
    assert all(change(image, np.random.default_rng(0)).dtype == np.uint8 for change in CHANGES.values())
    assert not any(np.array_equal(change(image, np.random.default_rng(0)), image) for change in CHANGES.values())
