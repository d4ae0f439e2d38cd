"""Hashes of code name what it does, not how it is commented."""

import hashlib
from pathlib import Path

import pytest

from scn.core.hashing import code_sha256, digest, file_sha256, significant, sources

PLAIN = """\
def f(x):
    y = '#'
    return x
"""
EXPLAINED = '''\
"""What this is."""


def f(x):  # why
    """Why."""
    y = '#'

    # why
    return x
'''


def test_comments_docstrings_and_empty_lines_do_not_count() -> None:
    assert significant(PLAIN) == significant(EXPLAINED) == PLAIN.rstrip()
    for old, new in (("return x", "return y"), ("'#'", "'##'"), ("f(x)", "f(x, z)")):
        assert significant(PLAIN.replace(old, new)) != significant(PLAIN)


def test_a_string_that_is_used_counts() -> None:
    for code in ("x = 'a'\n", "f('a')\n", "def f():\n    return 'a'\n", "def f(): 'a'\n"):
        assert "a" in significant(code)


def test_sources_are_files_and_folders_of_our_packages() -> None:
    found = sources("scn/training", "scn/imaging/tasks.py", without=["scn/training/validation.py"])
    names = {path.name for path in found}
    assert {"loop.py", "learner.py", "tasks.py"} <= names
    assert "validation.py" not in names
    for wrong in (("scn/no-such-room",), ("scn/training/no.py",)):
        with pytest.raises(FileNotFoundError):
            sources(*wrong)
    with pytest.raises(FileNotFoundError):
        sources("scn/training", without=["scn/training/no.py"])


def test_code_is_named_by_its_files() -> None:
    loop, learner = sources("scn/training/loop.py", "scn/training/learner.py")
    assert code_sha256([loop, learner]) == code_sha256([learner, loop, learner]) != code_sha256([loop])


def test_files_and_values(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
