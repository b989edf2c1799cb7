"""What a twin is asked to be: one JSON object, from the line on its standard input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core import UsageError
from harness.twins.engine import NatNetwork, SwitchNetwork
from harness.twins.engine.api import Network
from harness.twins.hyperv.plan import Planned
from harness.twins.hyperv.quotas import Quotas


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nat(_Part):
    """A switch whose guests the controller reaches one to one."""

    kind: Literal["nat"]
    subnet: str
    outside: str
    port: int = 2222

    def network(self) -> Network:
        """For the engine."""
        return NatNetwork(self.subnet, self.outside, self.port)


class Switch(_Part):
    """A switch on the harness's own segment."""

    kind: Literal["switch"]
    vlan: int | None = None
    mtu: int = 1500

    def network(self) -> Network:
        """For the engine."""
        return SwitchNetwork(vlan=self.vlan, mtu=self.mtu)


class TwinConfig(_Part):
    """The whole of it.

    Args:
        folder: the twin's own folder: certificates, store, sockets, the engine's files.
        name: what the host calls itself.
        year: which Windows Server it passes for.
        accounts: passwords by name; empty: one is made up.
        schemes: which authentication it offers.
        unencrypted: whether plain HTTP takes bodies in clear, and so Basic.
        quotas: limits, as :class:`~harness.twins.hyperv.quotas.Quotas` names them.
        plan: what goes wrong from the beginning.
        powershell: ``pwsh``: the real engine; ``emulated``: our own invoker; ``auto``: the engine where it is on PATH.
        guests: whether machines run for real; else they change their state, and no more.
        networks: switches by name.
        accel: what runs vCPUs; ``auto`` decides by a probe boot.
        probe: kernel and initramfs for that.
        cpus: of the host, as clients see it.
        memory: of the host in bytes, as clients see it.
        merge_seconds: how long disks of a removed checkpoint are merged.
        stop_seconds: how long ``Stop-VM`` waits for a guest.
        certificate: ``expired`` and ``other-host`` are for tests of clients.
        esxi: every twin is told; this one has no use for it.
    """

    folder: Path
    name: str = "TWIN"
    year: Literal[2016, 2019, 2022, 2025] = 2022
    accounts: dict[str, str] = Field(default={}, repr=False)
    schemes: tuple[Literal["negotiate", "basic"], ...] = ("negotiate", "basic")
    unencrypted: bool = False
    quotas: dict[str, float | None] = {}
    plan: tuple[dict[str, Any], ...] = ()
    powershell: Literal["auto", "pwsh", "emulated"] = "auto"
    guests: bool = True
    networks: dict[str, Annotated[Nat | Switch, Field(discriminator="kind")]] = {}
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    probe: tuple[Path, Path] | None = None
    cpus: int = Field(default=2, ge=1)
    memory: int = Field(default=8 << 30, ge=1 << 20)
    merge_seconds: float = 1.0
    stop_seconds: float = 300.0
    certificate: Literal["valid", "expired", "other-host"] = "valid"
    esxi: tuple[str, ...] = ()

    @classmethod
    def read(cls, line: bytes | str) -> Self:
        """From JSON.

        Raises:
            UsageError: it is not what it should be; names each wrong part.
        """
        try:
            config = cls.model_validate_json(line)
            config.limits()
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'line'}: {each['msg']}" for each in error.errors())
            raise UsageError(f"the twin's configuration is wrong: {wrong}") from error
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
