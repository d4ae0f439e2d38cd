"""The shards that data preparation makes: manifests, samples, and `webdataset` for training loops of one's own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scn.shards.pairs import webdataset

__all__ = ["webdataset"]


def __getattr__(name: str) -> object:
    # Data preparation enters this room and has no PyTorch: webdataset and PyTorch are loaded with the first pipeline.
    if name == "webdataset":
        from scn.shards.pairs import webdataset

        return webdataset
    raise AttributeError(f"module 'scn.shards' has no attribute '{name}'")
