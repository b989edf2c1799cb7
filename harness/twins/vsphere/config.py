"""What a twin of vSphere is asked to be."""

from __future__ import annotations

from pydantic import Field

from harness.twins.config import Config


class TwinConfig(Config):
    """The whole of it.

    Args:
        esxi: names of the hosts; all are this machine.
        memory: of each host in bytes, as clients see it; memory may be hot added up to it.
        max_vcpus: most vCPUs of a machine.
        latency: milliseconds added to every request.
        lease_seconds: an import of which nothing is heard ends after this time.
    """

    esxi: tuple[str, ...] = ("esx1",)
    memory: int = Field(default=4 << 30, ge=1 << 20)
    max_vcpus: int = Field(default=8, ge=1)
    latency: int = Field(default=0, ge=0)
    lease_seconds: int = Field(default=300, ge=1)
