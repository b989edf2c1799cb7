"""What a lab file refers to and nobody may read: found in one place, for all who must keep it out of something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from harness.core import LabError
from harness.core.secrets import Secret, of_environment, tell
from harness.lab.models import Host, Lab


def of_host(host: Host) -> list[Secret]:
    """The secrets that a host's section names."""
    values = (getattr(host.settings, key) for key in type(host.settings).model_fields)
    return [value for value in values if isinstance(value, Secret)]


def of_lab(lab: Lab) -> Iterator[Secret]:
    """All secrets that a lab file names."""
    if lab.key is not None:
        yield lab.key
    if lab.database is not None and lab.database.secret is not None:
        yield lab.database.secret
    for host in lab.hosts.values():
        yield from of_host(host)


def fetch(lab: Lab, *, asking: bool) -> None:
    """Fetch every secret of a lab that can be had here, so that whoever hears of secrets knows them; and tell those of
    the environment, which exporters and stores of results log in with.

    Args:
        lab: whose.
        asking: also those in a keyring, which may want to be unlocked first.
    """
    for value in of_environment():
        tell(value)
    for secret in of_lab(lab):
        if asking or secret.asks_nobody:
            with suppress(LabError):  # whoever needs it says that it is not there
                secret.reveal()
    if lab.database is not None and (lab.database.secret is None or asking or lab.database.secret.asks_nobody):
        with suppress(LabError):
            lab.database.url()  # which knows the password in it
