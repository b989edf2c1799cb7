"""Validation of a release: both sides run in turn, what came out judged, and the statement that a lab signs.

Rounds are ordinary runs of pytest (:mod:`~harness.validation.rounds`), written down so that a killed validation goes on
(:mod:`~harness.validation.ledger`). What they left is read back (:mod:`~harness.validation.judging`) and decided by the
rules of :mod:`~harness.validation.deciding`. The evidence goes into one signed file (:mod:`~harness.validation.bundle`).
"""
