"""One test, as many times as the lab has pools: parametrizing the ``host`` fixture, and the markers that come along."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.backends import registry

if TYPE_CHECKING:  # a stranger's tests in the same run must not pay for this import
    from harness.lab import Lab

HOST = "host"


def is_ours(item: pytest.Item) -> bool:
    """True when ``host`` means our fixture here: other plugins (testinfra for one) have a ``host`` too."""
    info = item._fixtureinfo  # type: ignore[attr-defined]  # noqa: SLF001  pytest has no public way to ask
    definitions = info.name2fixturedefs.get(HOST, ())
    return any(definition.func.__module__.split(".")[0] == "interop_fixtures" for definition in definitions)


def parametrize(metafunc: pytest.Metafunc, lab: Lab, *, each_host: bool) -> None:
    """Give ``host`` one value a pool (or a host), each marked with pool, host and backend name."""
    columns = []
    for name, members in lab.pools().items():
        if each_host:
            columns += [
                pytest.param(
                    member.name, id=member.name, marks=marks(metafunc.config, member.name, name, member.backend)
                )
                for member in members
            ]
        else:
            backends = {member.backend for member in members}
            columns.append(pytest.param(name, id=name, marks=marks(metafunc.config, name, *sorted(backends))))
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


def explain_empty(expression: str, lab: Lab) -> str | None:
    """One helpful line for ``-m hyperv`` in a lab without such a host; None where that was not the reason."""
    pools = lab.pools()
    present = set(pools) | {member.backend for members in pools.values() for member in members}
    wanted = [
        word
        for word in re.findall(r"\w+", expression)
        if word in {*registry.names(), "hyperv", "vsphere"} and word not in present
    ]
    if not wanted:
        return None
    return (
        f"the lab {lab.name!r} has no host of backend {wanted[0]}; its pools: {', '.join(sorted(pools))}. "
        f"Name such a host in a lab file and choose it with --lab (`interop lab check` helps)"
    )
