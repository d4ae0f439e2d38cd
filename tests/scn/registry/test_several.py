"""The models that a reference names, one after the other."""

from pathlib import Path

import pytest

from scn.core.errors import UserError
from scn.registry.several import Models, parts


def test_a_chain_may_be_longer_than_the_name_of_a_folder() -> None:
    assert parts(", ".join(["car-q20"] * 60)) == ["car-q20"] * 60


def test_a_folder_with_a_comma_is_one(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert parts(f"{tmp_path}/a,b") == [f"{tmp_path}/a,b"]


@pytest.mark.parametrize("name", ["n" * 300, "dn-s25," + "n" * 300, "n/" * 2047, "/".join(["n" * 255] * 20)])
def test_what_is_too_long_for_a_name_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"^'n[n/]{59}\.\.\.' is no folder with a model [^:]*: name one of those"):
        Models("cpu").check(name)
