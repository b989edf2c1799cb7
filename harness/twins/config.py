"""What every twin is asked to be: the parts of its configuration that all of them know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core import UsageError
from harness.twins.engine.values import NatNetwork, Network, SwitchNetwork


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nat(_Part):
    """A network whose guests the controller reaches one to one."""

    kind: Literal["nat"]
    subnet: str
    outside: str
    port: int = 2222

    def network(self) -> Network:
        """For the engine."""
        return NatNetwork(self.subnet, self.outside, self.port)


class Switch(_Part):
    """A network on the harness's own switch."""

    kind: Literal["switch"]
    vlan: int | None = None
    mtu: int = 1500

    def network(self) -> Network:
        """For the engine."""
        return SwitchNetwork(vlan=self.vlan, mtu=self.mtu)


class Config(_Part):
    """One JSON object, from the line on a twin's standard input.

    Args:
        folder: the twin's own folder: certificates, sockets, disks, the engine's files.
        networks: port groups or switches by name.
        accel: what runs vCPUs; ``auto`` decides by a probe boot.
        probe: kernel and initramfs for that.
        cpus: of each host, as clients see it.
        certificate: ``expired`` and ``other-host`` are for tests of clients.
    """

    folder: Path
    networks: dict[str, Annotated[Nat | Switch, Field(discriminator="kind")]] = {}
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    probe: tuple[Path, Path] | None = None
    cpus: int = Field(default=2, ge=1)
    certificate: Literal["valid", "expired", "other-host"] = "valid"

    @classmethod
    def read(cls, line: bytes | str) -> Self:
        """From JSON.

        Raises:
            UsageError: it is not what it should be; names each wrong part.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'line'}: {each['msg']}" for each in error.errors())
            raise UsageError(f"the twin's configuration is wrong: {wrong}") from error
