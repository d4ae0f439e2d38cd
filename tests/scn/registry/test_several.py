"""The models that a reference names, one after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.imaging.image_io import Photograph
from scn.inference.chain import total_scale
from scn.inference.handle import Model
from scn.registry.several import Models, parts


def test_a_chain_may_be_longer_than_the_name_of_a_folder() -> None:
    assert parts(", ".join(["n" * 50] * 8)) == ["n" * 50] * 8


def test_a_chain_has_eight_models_at_most() -> None:
    with pytest.raises(UserError, match=r"^'sr-x4(,sr-x4){9},\.\.\.' names 32 models, one after .*: name 8 at most\.$"):
        Models("cpu").check(",".join(["sr-x4"] * 32))


@pytest.mark.parametrize("reference", ["sr-x2,auto", "auto,auto", "auto,sr-x2, auto"])
def test_auto_is_the_first_of_a_chain_and_once(reference: str, photograph: Callable[..., Any]) -> None:
    given = Photograph(pixels=photograph(32, 40), alpha=None, icc_profile=None)
    with pytest.raises(UserError, match=rf"^'{reference}' names auto after another .*: name it first, and once\.$"):
        Models("cpu").choose(reference, given)
    assert parts("auto,sr-x2") == ["auto", "sr-x2"]


def test_the_scale_of_a_chain_is_exact_however_long_it_is(small_project: Any) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    assert total_scale([]) == 1
    assert total_scale([model] * 64) == 2**64


def test_a_folder_with_a_comma_is_one(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert parts(f"{tmp_path}/a,b") == [f"{tmp_path}/a,b"]


@pytest.mark.parametrize("name", ["n" * 300, "dn-s25," + "n" * 300, "n/" * 2047, "/".join(["n" * 255] * 20)])
def test_what_is_too_long_for_a_name_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"^'n[n/]{59}\.\.\.' is no folder with a model [^:]*: name one of those"):
        Models("cpu").check(name)
