"""The small project with its two corpora."""

from small_corpora import configure, known, project, site_corpora

__all__ = ["configure", "known", "project", "site_corpora"]
