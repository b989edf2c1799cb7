"""Measurements: named numbers with their raw samples, taken in quiet."""

from harness.measure.measurement import Better, Measurement

__all__ = ["Better", "Measurement"]
