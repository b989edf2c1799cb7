"""Validation of a release: both sides run in turn, what came out judged, and the statement that a lab signs."""
