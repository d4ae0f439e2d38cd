"""The small project whose runs are tested."""

from small_run import machine, project, short_pauses, store

__all__ = ["machine", "project", "short_pauses", "store"]
