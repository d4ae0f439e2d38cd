"""Measuring restored images: metrics, named protocols, self-ensemble, and the runner over evaluation sets."""
