"""How much memory is free, and what is refused for lack of it."""

import psutil
import pytest

from scn.core.errors import UserError
from scn.core.memory import free, require


def test_no_more_is_free_than_the_machine_has() -> None:
    assert 2**20 < free() <= psutil.virtual_memory().total


def test_what_memory_can_not_hold_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.core.memory.free", lambda: 3 * 2**30)
    require(3 * 2**30, "It")
    with pytest.raises(UserError) as caught:
        require(6 * 2**30, "It has 500 megapixels")
    assert str(caught.value) == (
        "It has 500 megapixels, for which 6.0 GiB of memory are needed and 3.0 are free: end other programs, or cut "
        "the image into parts."
    )
