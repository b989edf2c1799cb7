"""Validation of a release: both sides run in turn, what came out judged, and the statement that a lab signs.

Rounds are ordinary runs of pytest (``rounds``), written down so that a killed validation goes on (``ledger``). What
they left is read back (``cells``, ``figures``, ``judging``) and decided by the rules of ``deciding``. ``concluding``
writes the statement, and packs the evidence into one signed file (``bundle``, ``signing``, ``hiding``).
"""
