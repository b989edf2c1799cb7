"""One test, as many times as the lab has pools: parametrizing the ``host`` fixture, and the markers that come along."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.backends import registry
from harness.core import UsageError
from harness.core.config import nearest

if TYPE_CHECKING:  # a stranger's tests in the same run must not pay for this import
    from harness.lab import Lab

HOST = "host"


def is_ours(item: pytest.Item) -> bool:
    """True when ``host`` means our fixture here: other plugins (testinfra for one) have a ``host`` too."""
    info = item._fixtureinfo  # type: ignore[attr-defined]  # noqa: SLF001  pytest has no public way to ask
    for definition in reversed(info.name2fixturedefs.get(HOST, ())):  # the one that counts comes last
        if definition.func.__module__.split(".")[0] == "interop_fixtures":
            return True
        if HOST not in definition.argnames:  # an override that does not build on the one before it
            return False
    return False


def parametrize(metafunc: pytest.Metafunc, lab: Lab, each_host: bool, only: str | None) -> None:
    """Give ``host`` one value a pool (or a host), each marked with pool, host and backend name.

    Args:
        metafunc: the test.
        lab: whose pools.
        each_host: one value a host instead.
        only: the one host to run on.

    Raises:
        UsageError: the lab has no host called ``only``.
    """
    if only is not None and only not in lab.hosts:
        raise UsageError(f"--host {only}: the lab {lab.name!r} has no such host{nearest(only, list(lab.hosts))}")
    columns = []
    for pool, members in lab.pools().items():
        chosen = [member for member in members if only in (None, member.name)]
        for column in [[member] for member in chosen] if each_host else [chosen] if chosen else []:
            name = column[0].name if each_host else pool
            words = [name, pool, *sorted({member.backend for member in column})]
            columns.append(pytest.param(name, id=name, marks=marks(metafunc.config, *words)))
    metafunc.parametrize(HOST, columns, indirect=True, scope="session")


def marks(config: pytest.Config, *names: str) -> list[pytest.MarkDecorator]:
    """Markers of these names, registered, so that ``--strict-markers`` and ``-m`` know them."""
    return [marker(config, name) for name in dict.fromkeys(names)]


def marker(config: pytest.Config, name: str) -> pytest.MarkDecorator:
    """A registered marker; characters that ``-m`` cannot read become underscores."""
    word = re.sub(r"\W", "_", name)
    known = {line.split(":")[0].split("(")[0].strip() for line in config.getini("markers")}
    if word not in known:
        config.addinivalue_line("markers", f"{word}: added by the lab or by the folder of a suite")
    decorator: pytest.MarkDecorator = getattr(pytest.mark, word)
    return decorator


def explain_empty(expression: str, lab: Lab, only: str | None) -> str | None:
    """One helpful line for ``-m hyperv`` where no such host takes part; None where that was not the reason.

    Args:
        expression: of ``-m``.
        lab: the lab of the run.
        only: the host that ``--host`` names.
    """
    pools = lab.pools()
    kinds = {*registry.names(), *registry.KNOWN}
    for word in re.findall(r"\w+", expression):
        if word not in kinds:
            continue
        there = [member.name for members in pools.values() for member in members if member.backend == word]
        if not there and word not in pools:
            return (
                f"the lab {lab.name!r} has no host of backend {word}; its pools: {', '.join(sorted(pools))}. "
                f"Name such a host in a lab file and choose it with --lab (`interop lab check` helps)"
            )
        if there and only is not None and only not in there:
            return f"--host {only} leaves out what is of backend {word}: leave it out, or name {' or '.join(there)}"
    return None
