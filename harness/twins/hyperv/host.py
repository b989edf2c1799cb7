"""A whole twin host, assembled: accounts, certificate, programs, ports, and the socket that controls it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.twins.hyperv import certificates, programs
from harness.twins.hyperv.accounts import Accounts
from harness.twins.hyperv.control import Control
from harness.twins.hyperv.plan import FaultPlan, Planned
from harness.twins.hyperv.programs import Program
from harness.twins.hyperv.quotas import Quotas
from harness.twins.hyperv.server import Listener, Transport
from harness.twins.hyperv.service import Service
from harness.twins.hyperv.shells import Shells

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What a twin host is.

    Args:
        folder: its own: certificates, accounts, control socket, where programs start.
        name: what it calls itself.
        accounts: passwords by name; empty: one is made up.
        programs: what it can run, by name in lower case without ``.exe``.
        quotas: how much one may use.
        schemes: which authentication it offers.
        unencrypted: whether plain HTTP takes bodies in clear, and so Basic.
        plan: what goes wrong from the beginning.
        certificate: ``valid``; for tests of clients ``expired`` or ``other-host``.
        build: of Windows, as Identify says it.
        keytab: its keys in a Kerberos realm, as a host that joined a domain has them.
        clients: accounts by client certificate, its PEM file: it is trusted, whoever signed it, and mapped to them.
    """

    folder: Path
    name: str = "TWIN"
    accounts: Mapping[str, str] = field(default_factory=dict, repr=False)
    programs: Mapping[str, Program] = field(default_factory=dict)
    quotas: Quotas = field(default_factory=Quotas)
    schemes: tuple[str, ...] = ("negotiate", "basic")
    unencrypted: bool = False
    plan: Sequence[Planned] = ()
    certificate: str = "valid"
    build: int = 20348
    keytab: Path | None = None
    clients: Mapping[Path, str] = field(default_factory=dict)


class Host:
    """A twin host that listens until it is closed. A context manager.

    One process has one set of accounts: its hosts should agree on them.
    """

    def __init__(self, settings: HostSettings) -> None:
        settings.folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.accounts = dict(settings.accounts) or {"Administrator": secrets.token_urlsafe(18)}
        known = Accounts(self.accounts, settings.folder / "accounts", settings.name)
        self.identity = certificates.make(settings.folder, settings.name, settings.certificate)
        work = settings.folder / "work"
        work.mkdir(exist_ok=True)
        self.plan = FaultPlan(settings.plan)
        self.shells = Shells(settings.quotas)
        service = Service(
            resolve=lambda line: programs.resolve(line, settings.programs),
            folder=work,
            shells=self.shells,
            quotas=settings.quotas,
            plan=self.plan,
            machine=settings.name,
            product=f"OS: 10.0.{settings.build} SP: 0.0 Stack: 3.0",
        )
        self._service = service
        self._transports = {
            "http": Transport(known, settings.schemes, settings.unencrypted, keytab=settings.keytab),
            "https": Transport(
                known,
                settings.schemes,
                tls=self.identity.context,
                certificate_hash=self.identity.digest,
                keytab=settings.keytab,
                clients=certificates.take(self.identity.context, settings.clients),
            ),
        }
        self._listeners = {name: Listener((ADDRESS, 0), service, each) for name, each in self._transports.items()}
        self._ports = {name: listener.port for name, listener in self._listeners.items()}
        for listener in self._listeners.values():
            listener.start()
        self._control = Control(settings.folder / "control", self._obey)

    @property
    def http(self) -> str:
        """The endpoint without TLS."""
        return f"http://{ADDRESS}:{self._ports['http']}/wsman"

    @property
    def https(self) -> str:
        """The endpoint with TLS."""
        return f"https://{ADDRESS}:{self._ports['https']}/wsman"

    def go_down(self) -> None:
        """As when the host reboots: ports are closed, connections end, shells with all that ran in them are gone."""
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()
        for shell in self.shells.present():
            self.shells.delete(shell.shell_id)

    def come_up(self) -> None:
        """Listen again, on the same ports."""
        for name, transport in self._transports.items():
            if name not in self._listeners:
                self._listeners[name] = Listener((ADDRESS, self._ports[name]), self._service, transport)
                self._listeners[name].start()

    def close(self) -> None:
        """End everything."""
        self._control.close()
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()
        self.shells.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _obey(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if "plan" in request:
            self.plan.replace(Planned.parse(entry) for entry in request["plan"])
        if "listen" in request:
            self.come_up() if request["listen"] else self.go_down()
        return {
            "shells": [
                {
                    "id": shell.shell_id,
                    "owner": shell.owner,
                    "commands": {name: command.pid for name, command in list(shell.commands.items())},
                }
                for shell in self.shells.present()
            ],
            "listening": bool(self._listeners),
        }


def control(folder: Path, request: Mapping[str, Any], seconds: float = 30.0) -> dict[str, Any]:
    """Tell a twin's process something, by the control socket in its folder.

    Args:
        folder: the twin's.
        request: ``{"plan": [...]}`` makes a fault plan, ``{"listen": false}`` takes the host down, ``{}`` only asks.
        seconds: how long that may take.

    Returns:
        What there is now: shells and their processes.

    Raises:
        UsageError: the request makes no sense.
    """
    return Control.ask(folder / "control", request, seconds)
