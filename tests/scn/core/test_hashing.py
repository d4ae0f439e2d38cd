"""The hash of the code names what is in the sources, not where they lie."""

import hashlib
from pathlib import Path

from scn.core.hashing import code_sha256, file_sha256, tree_sha256


def test_the_same_sources_anywhere(tmp_path: Path) -> None:
    for place in ("one", "two/deeper"):
        folder = tmp_path / place / "package"
        (folder / "part").mkdir(parents=True)
        (folder / "b.py").write_text("b = 1\n")
        (folder / "part" / "a.py").write_text("a = 1\n")
        (folder / "notes.txt").write_text(place)
    sums = [tree_sha256(tmp_path / place / "package") for place in ("one", "two/deeper")]
    assert sums[0] == sums[1]


def test_names_and_contents_both_count(tmp_path: Path) -> None:
    sums = set()
    for name, content in (("a.py", "x"), ("a.py", "y"), ("b.py", "y")):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / name).write_text(content)
        sums.add(tree_sha256(tmp_path))
    assert len(sums) == 3


def test_files_and_this_package(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert len(code_sha256()) == 64
    assert code_sha256() == tree_sha256(Path(__file__).resolve().parents[3] / "scn")
