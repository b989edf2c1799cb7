"""A network on which the controller reaches each guest at an address of its own, and no guest reaches anything.

QEMU's user network forwards from one address and port outside to one inside, so it must know the guest's address
before it starts. A guest here has it from its seed, which lies in its CD drive: there it is read.
"""

from __future__ import annotations

import io
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pycdlib
import pycdlib.pycdlibexception

from harness.twins.engine.values import EngineError, NatNetwork

_LABEL = "cidata"
_LARGEST = 1 << 20


def restricted(network: NatNetwork, inside: str | None) -> dict[str, Any]:
    """The back end of a NIC: ``restrict`` keeps everything in, forwards included that the guest would ask for."""
    subnet = ipaddress.IPv4Network(network.subnet)
    last = int(subnet.broadcast_address)
    tree: dict[str, Any] = {
        "type": "user",
        "restrict": True,
        "ipv6": False,
        "net": str(subnet),
        # QEMU's own places in the subnet are by default where guests would like to be.
        "host": str(ipaddress.IPv4Address(last - 1)),
        "dns": str(ipaddress.IPv4Address(last - 2)),
        "dhcpstart": str(ipaddress.IPv4Address(last - 20)),
    }
    if inside:
        address, port = forward(network, inside)
        tree["hostfwd"] = [{"str": f"tcp:{address}:{port}-{inside}:22"}]
    return tree


def forward(network: NatNetwork, inside: str) -> tuple[str, int]:
    """Where outside the guest at ``inside`` is.

    Raises:
        EngineError: the two networks do not fit, or the guest's address is in neither.
    """
    subnet, outside = ipaddress.IPv4Network(network.subnet), ipaddress.IPv4Network(network.outside)
    if subnet.prefixlen != outside.prefixlen or not outside.is_loopback:
        raise EngineError(f"{outside} is no network within 127.0.0.0/8 of the size of {subnet}", operation="network")
    address = ipaddress.IPv4Address(inside)
    if address not in subnet:
        raise EngineError(f"the guest's seed says {inside}, which is not in {subnet}", operation="network")
    return str(outside[int(address) - int(subnet.network_address)]), network.port


def seeded(iso: Path | None) -> dict[str, str]:
    """IPv4 addresses by MAC, as the NoCloud seed on ``iso`` gives them; empty when it is none.

    A network-config is YAML in general; only JSON, which is a part of it, is read here.
    """
    if iso is None or not iso.is_file():
        return {}
    try:
        text = _network_config(iso)
        devices = json.loads(text).get("ethernets", {}) if text else {}
        return dict(_addresses(devices))
    except (pycdlib.pycdlibexception.PyCdlibException, OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}  # some other CD


def _addresses(devices: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for device in devices.values():
        mac = str(device.get("match", {}).get("macaddress", "")).lower()
        for text in device.get("addresses", ()):
            address = ipaddress.ip_interface(text).ip
            if mac and address.version == 4:
                found.append((mac, str(address)))
    return found[::-1]  # of several the first counts


def _network_config(iso: Path) -> bytes:
    image = pycdlib.PyCdlib()
    image.open(str(iso))
    try:
        if image.pvd.volume_identifier.decode("ascii", "replace").strip().lower() != _LABEL:
            return b""
        names: tuple[dict[str, str], ...] = ({"rr_path": "/network-config"}, {"joliet_path": "/network-config"})
        for name in names:
            held = io.BytesIO()
            try:
                if image.get_record(**name).get_data_length() > _LARGEST:
                    return b""
                image.get_file_from_iso_fp(held, **name)
            except pycdlib.pycdlibexception.PyCdlibInvalidInput:
                continue  # an ISO without this extension, or without the file
            return held.getvalue()
        return b""
    finally:
        image.close()
