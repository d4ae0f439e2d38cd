"""The small project, which can be trained in."""

from small_run import project

__all__ = ["project"]
