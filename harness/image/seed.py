"""The seed: what makes one guest out of an image that all share.

It is cloud-init's NoCloud data source on a small ISO labelled ``cidata``, the one seed every hypervisor can attach:
https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
The user data is written as JSON, which is YAML: nothing in it needs quoting rules of our own.
"""

from __future__ import annotations

import base64
import io
import ipaddress
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pycdlib

from harness.core import UsageError
from harness.image.keys import HostKey

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SeedNic:
    """One NIC of the guest, in the order of the machine's NICs: the first becomes eth0.

    Args:
        mac: its MAC address, lower case with colons; how the guest tells it from others.
        address: IPv4 address with prefix length (``10.0.2.15/24``), or None: up, with its link-local address alone.
        gateway: the way out; None in labs that have none, the local one first of all.
        dns: name servers.
        mtu: other than the hypervisor's own.
        dhcp: ask for an address instead.
    """

    mac: str
    address: str | None = None
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    mtu: int | None = None
    dhcp: bool = False


@dataclass(frozen=True, slots=True)
class SeedSpec:
    """Everything that one guest has of its own.

    Args:
        instance_id: cloud-init applies a seed once an instance id.
        hostname: a single DNS label.
        machine_id: 32 hex digits for ``/etc/machine-id``, or None: the guest makes one at its first boot.
        nics: the guest's NICs in order.
        host_key: its ssh host key, known before the first connection.
        authorized_keys: public keys that may log in.
        user: who logs in; anyone but root gets sudo without a password.
        extra_files: further files by absolute path, written (0644, root) before sshd starts.
        commands: run once, as root, before sshd starts; each a list of words, none passes a shell.
    """

    instance_id: str
    hostname: str
    nics: tuple[SeedNic, ...]
    host_key: HostKey
    authorized_keys: tuple[str, ...]
    machine_id: str | None = None
    user: str = "root"
    extra_files: Mapping[str, bytes] = field(default_factory=dict)
    commands: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not _HOSTNAME.fullmatch(self.hostname):
            raise UsageError(f"{self.hostname!r} is no host name: letters, digits and hyphens, at most 63")
        if self.machine_id is not None and not _MACHINE_ID.fullmatch(self.machine_id):
            raise UsageError(f"{self.machine_id!r} is no machine id: 32 hex digits")
        for nic in self.nics:
            if not _MAC.fullmatch(nic.mac):
                raise UsageError(f"{nic.mac!r} is no MAC address: six hex pairs in lower case with colons")
            if nic.address is not None:
                _interface(nic.address)
        if len({nic.mac for nic in self.nics}) != len(self.nics):
            raise UsageError("two NICs of one seed have the same MAC address")
        for path in self.extra_files:
            if not path.startswith("/"):
                raise UsageError(f"{path!r} is not an absolute path in the guest")


# bootcmd runs at every boot, so this acts only when there is something to do. journald picks its folder by the machine
# id it started with: it starts again, and what it wrote before moves along, or journalctl would not find it.
_MACHINE_ID_SCRIPT = """\
old=$(cat /etc/machine-id)
[ "$old" = "$1" ] && exit 0
echo "$1" > /etc/machine-id
systemctl restart systemd-journald
for place in /run/log/journal /var/log/journal; do
  [ -d "$place/$old" ] || continue
  mkdir -p "$place/$1"
  for file in "$place/$old"/*.journal; do
    [ -e "$file" ] && mv "$file" "$place/$1/before-$(basename "$file")"
  done
  rm -rf "$place/$old"
done
"""


def user_data(spec: SeedSpec) -> dict[str, Any]:
    """The ``#cloud-config`` document of the seed, as plain values."""
    tree: dict[str, Any] = {
        "disable_root": spec.user != "root",
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": spec.host_key.private, "ed25519_public": spec.host_key.public},
        "ssh_authorized_keys": list(spec.authorized_keys),
        "users": [],
    }
    if spec.user != "root":
        account = {"name": spec.user, "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "lock_passwd": True}
        tree["users"] = [account | {"ssh_authorized_keys": list(spec.authorized_keys)}]
    once = [[*_per_instance(index, spec), *command] for index, command in enumerate(spec.commands)]
    identity = [["sh", "-c", _MACHINE_ID_SCRIPT, "machine-id", spec.machine_id]] if spec.machine_id else []
    # write-files runs after bootcmd: files a command needs are written by the command's own stage.
    tree["bootcmd"] = identity + [_write(path, content) for path, content in spec.extra_files.items()] + once
    return tree


def meta_data(spec: SeedSpec) -> dict[str, Any]:
    """The ``meta-data`` document of the seed."""
    # dsmode local: cloud-init applies everything in its first stage, before the network and sshd are up.
    return {"instance-id": spec.instance_id, "local-hostname": spec.hostname, "dsmode": "local"}


def network_config(nics: Sequence[SeedNic]) -> dict[str, Any]:
    """The ``network-config`` document, version 2.

    NICs are found by MAC. ``set-name`` makes the seed's first NIC eth0 even where the kernel found another one first;
    it also is what cloud-init's networkd renderer matches besides the MAC.
    """
    return {"version": 2, "ethernets": {f"eth{index}": _ethernet(index, nic) for index, nic in enumerate(nics)}}


def write_seed(spec: SeedSpec, path: Path) -> Path:
    """Write the seed's ISO to ``path`` (mode 0600: it holds the guest's private host key), whole or not at all."""
    documents = {
        "meta-data": _json(meta_data(spec)),
        "user-data": b"#cloud-config\n" + _json(user_data(spec)),
        "network-config": _json(network_config(spec.nics)),
    }
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for index, (name, content) in enumerate(documents.items()):
        iso.add_fp(
            io.BytesIO(content),
            len(content),
            f"/FILE{index}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=0o100400,
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        iso.write_fp(out)
    iso.close()
    temporary.replace(path)
    return path


def _ethernet(index: int, nic: SeedNic) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "match": {"macaddress": nic.mac},
        "set-name": f"eth{index}",
        "dhcp4": nic.dhcp,
        "dhcp6": False,
        "accept-ra": False,
        "link-local": ["ipv6"],
        "optional": True,
    }
    if nic.address:
        tree["addresses"] = [nic.address]
    if nic.gateway:
        tree["gateway4"] = nic.gateway
    if nic.dns:
        tree["nameservers"] = {"addresses": list(nic.dns)}
    if nic.mtu:
        tree["mtu"] = nic.mtu
    return tree


def _per_instance(index: int, spec: SeedSpec) -> list[str]:
    return ["cloud-init-per", "instance", f"interop-{index}-{spec.instance_id}"]


def _write(path: str, content: bytes) -> list[str]:
    script = 'mkdir -p "$(dirname "$1")" && printf %s "$2" | base64 -d > "$1"'
    return ["sh", "-c", script, "write", path, base64.b64encode(content).decode("ascii")]


def _interface(address: str) -> None:
    try:
        ipaddress.IPv4Interface(address)
    except ValueError as error:
        raise UsageError(f"{address!r} is no IPv4 address: {error}") from error
    if "/" not in address:
        raise UsageError(f"{address!r} lacks its prefix length, as in {address}/24")


def _json(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, indent=1).encode() + b"\n"
