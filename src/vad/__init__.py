"""Weakly supervised video anomaly detection: raw video in, a score for every frame out."""

__version__ = "0.1.0"
