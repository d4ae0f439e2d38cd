"""The licence of the images of a corpus, as its index names it."""

from typing import Any

from scn.core.hashing import digest


def licence_in(index: Any, reference: str, sha256: str | None) -> str:
    """The licence that an index names for a corpus or a split of it; "" if it names none, or is of other images.

    A folder of one's own may be called like a corpus, and its sub-folders like splits: the content of the images tells.

    Args:
        index: what scn.corpora.corpora.index_of has written, read as JSON; anything else names no licence.
        reference: NAME or NAME/SPLIT.
        sha256: of the images (scn.corpora.corpora.Corpus.sha256); None: it is not known, and the name alone counts.
    """
    split = reference.partition("/")[2]
    try:
        licence = str(index["licence"])
        if sha256 is None:
            return licence
        return licence if sha256 == (_of_split(index, split) if split else index["sha256"]) else ""
    except (KeyError, TypeError, AttributeError):
        return ""


def _of_split(index: Any, split: str) -> str:
    """What scn.corpora.corpora.Corpus.sha256 is of a split alone, whose images are called SPLIT/... in the index."""
    return digest([[row["name"], row["sha256"]] for row in index["images"] if row["name"].startswith(f"{split}/")])
