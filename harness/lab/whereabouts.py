"""Who and where, as a lab file says it: names of hosts and of accounts, for whoever must take them out of something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import urlsplit

from harness.lab.models import Host, Lab

_BARE = frozenset({"endpoint", "esxi", "nodes", "pull", "spn", "user"})
"""Settings that are the name of a host or an account, with or without something around it."""
_NOBODY = frozenset({"http", "https", "host", "wsman", "sdk"})
"""Services and paths that stand beside such names."""


class Kind(StrEnum):
    """What a name names."""

    HOST = "host"
    ACCOUNT = "account"
    PASSWORD = "password"  # noqa: S105  the kind, not one


def of_host(host: Host) -> Iterator[tuple[Kind, str]]:
    """Names in the settings of a host; its own name in the lab is not among them."""
    for name in type(host.settings).model_fields:
        value = getattr(host.settings, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, str):
                yield from named_in(each, bare=name in _BARE, account=name == "user")


def of_lab(lab: Lab) -> Iterator[tuple[Kind, str]]:
    """Names of a whole lab: of its hosts and pools, in their settings, of proxies and of the hosts to jump by."""
    for host in lab.hosts.values():
        yield Kind.HOST, host.name
        yield Kind.HOST, host.pool
        yield from of_host(host)
        if host.proxy:
            yield from named_in(host.proxy, bare=False)
    for network in lab.networks.values():
        if network.jump is not None:
            yield Kind.HOST, network.jump.address
            yield Kind.ACCOUNT, network.jump.user


def named_in(value: str, *, bare: bool, account: bool = False) -> Iterator[tuple[Kind, str]]:
    r"""Host and account in a URI or ``user@host``.

    Args:
        value: the text.
        bare: it is a name itself: ``host:port``, ``DOMAIN\user``, ``HTTP/host``.
        account: and the name of an account.
    """
    if "://" in value or "@" in value:
        parts = urlsplit(value if "://" in value else f"//{value}")
        for kind, part in (
            (Kind.HOST, parts.hostname),
            (Kind.ACCOUNT, parts.username),
            (Kind.PASSWORD, parts.password),
        ):
            if part:
                yield kind, part
    if bare and "://" not in value:
        for word in re.split(r"[\\/@]", value):
            word = re.sub(r":\d+$", "", word).strip("[]")  # noqa: PLW2901
            if word and word.lower() not in _NOBODY:
                yield (Kind.ACCOUNT if account else Kind.HOST), word
