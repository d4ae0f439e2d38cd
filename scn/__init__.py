"""Image restoration with Scale-wise Convolutional Networks: from corpora to published models."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scn.registry.publish import load

__all__ = ["load"]


def __getattr__(name: str) -> object:
    # `import scn` stays light: PyTorch is loaded with the first model.
    if name == "load":
        from scn.registry.publish import load

        return load
    raise AttributeError(f"module 'scn' has no attribute '{name}'")
