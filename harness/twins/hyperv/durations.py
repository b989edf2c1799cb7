"""xs:duration, as far as WinRM speaks it: days to seconds, no months and no years."""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def seconds(text: str) -> float:
    """The length of an xs:duration in seconds.

    Raises:
        ValueError: it is none, or one with months or years.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError(f"not a duration of days, hours, minutes and seconds: {text!r}")
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def timeout(span: float) -> str:
    """A time-out as Windows prints it: ``PT7200.000S``."""
    return f"PT{span:.3f}S"


def elapsed(span: float) -> str:
    """A length of time as Windows prints it: ``P0DT0H0M7S``."""
    minutes, rest = divmod(int(span), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"P{days}DT{hours}H{minutes}M{rest}S"
