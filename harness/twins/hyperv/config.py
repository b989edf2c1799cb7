"""What a twin of Hyper-V is asked to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from harness.core import UsageError
from harness.twins.config import Config
from harness.twins.hyperv.plan import Planned
from harness.twins.hyperv.quotas import Quotas


class TwinConfig(Config):
    """The whole of it.

    Args:
        name: what the host calls itself.
        year: which Windows Server it passes for.
        accounts: passwords by name; empty: one is made up.
        schemes: which authentication it offers; ``kerberos`` is Negotiate that takes no NTLM.
        keytab: its keys in a Kerberos realm, as a host that joined a domain has them.
        clients: accounts by the PEM file of a client certificate that is mapped to them.
        unencrypted: whether plain HTTP takes bodies in clear, and so Basic.
        quotas: limits, as :class:`~harness.twins.hyperv.quotas.Quotas` names them.
        plan: what goes wrong from the beginning.
        powershell: ``pwsh``: the real engine; ``emulated``: our own invoker; ``auto``: the engine where it is on PATH.
        language: ``constrained``: a policy trusts signed files alone, and commands run in constrained language.
        module: whether the PowerShell module of Hyper-V is there.
        operators: accounts that may use it (the group Hyper-V Administrators); unset: all.
        feature: whether the service behind the module is there.
        nodes: names of other nodes of its cluster, which answer through it.
        free: bytes free on its volumes, as clients see it; None: those of this machine's.
        guests: whether machines run for real; else they change their state, and no more.
        memory: of the host in bytes, as clients see it.
        merge_seconds: how long disks of a removed checkpoint are merged.
        stop_seconds: how long ``Stop-VM`` waits for a guest.
        esxi: every twin is told; this one has no use for it.
    """

    name: str = "TWIN"
    year: Literal[2016, 2019, 2022, 2025] = 2022
    accounts: dict[str, str] = Field(default={}, repr=False)
    schemes: tuple[Literal["negotiate", "kerberos", "credssp", "basic"], ...] = ("negotiate", "basic")
    keytab: Path | None = None
    clients: dict[Path, str] = Field(default={})
    unencrypted: bool = False
    quotas: dict[str, float | None] = Field(default={})
    plan: tuple[dict[str, Any], ...] = ()
    powershell: Literal["auto", "pwsh", "emulated"] = "auto"
    language: Literal["full", "constrained"] = "full"
    module: bool = True
    operators: tuple[str, ...] | None = None
    feature: bool = True
    nodes: tuple[str, ...] = ()
    free: int | None = Field(default=None, ge=0)
    guests: bool = True
    memory: int = Field(default=8 << 30, ge=1 << 20)
    merge_seconds: float = 1.0
    stop_seconds: float = 300.0
    esxi: tuple[str, ...] = ()

    @classmethod
    def read(cls, line: bytes | str) -> Self:
        """From JSON.

        Raises:
            UsageError: it is not what it should be; names each wrong part.
        """
        try:
            config = super().read(line)
            config.limits()
        except TypeError as error:
            raise UsageError(f"the twin's configuration is wrong: quotas: {error}") from error
        return config

    def limits(self) -> Quotas:
        """The quotas."""
        # What counts is whole; JSON and pydantic do not know.
        whole = {
            key: int(value) if value is not None and value == int(value) else value
            for key, value in self.quotas.items()
        }
        return Quotas(**whole)  # type: ignore[arg-type]

    def faults(self) -> tuple[Planned, ...]:
        """The fault plan."""
        return tuple(Planned.parse(entry) for entry in self.plan)
