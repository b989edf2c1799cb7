"""Kernel modules, as /proc and /sys tell of them."""

import subprocess
from datetime import timedelta

import pytest

from harness.guest import modules
from harness.guest.modules import Driven, Module, Modules, parse_driven, parse_modules
from harness.guest.probe import ProbeFailed
from harness.guest.result import Result

# Debian 12 on KVM.
MODULES = b"""net_failover 20480 1 virtio_net, Live 0x0000000000000000
virtio_net 61440 0 - Live 0x0000000000000000
failover 16384 1 net_failover, Live 0x0000000000000000
virtio_rng 16384 0 - Unloading 0x0000000000000000
libcrc32c 16384 3 nf_conntrack,nf_tables,xfs, Live 0x0000000000000000 (OE)
"""


def test_a_module_is_told_with_its_users() -> None:
    found = parse_modules(MODULES)
    assert found["virtio_net"] == Module("virtio_net", 0, frozenset(), "Live")
    assert found["failover"] == Module("failover", 1, frozenset({"net_failover"}), "Live")
    assert found["virtio_rng"].state == "Unloading"
    assert found["libcrc32c"].used_by == {"nf_conntrack", "nf_tables", "xfs"}


def test_a_module_is_asked_for_by_whoever_runs_commands() -> None:
    asked = []

    class Console:
        def run(
            self, argv: object, *, timeout: timedelta = timedelta(), stdin: bytes = b"", check: bool = True
        ) -> Result:
            asked.append((argv, check))
            return Result(("cat",), 0, MODULES, b"", False)

    ours = Modules("guest", Console())
    assert ours.get("virtio_net") is not None
    assert ours.get("vmxnet3") is None
    ours.unload("virtio_net")
    ours.load("virtio_net")
    assert asked[2:] == [(["modprobe", "-r", "--", "virtio_net"], False), (["modprobe", "--", "virtio_net"], False)]


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"2\n../../../../module/virtio_net\n", Driven("virtio_net", 2)),
        (b"17\n", Driven(None, 17)),
    ],
)
def test_an_interface_has_a_number_and_maybe_a_module(data: bytes, seen: Driven) -> None:
    assert parse_driven(data) == seen


def test_the_number_is_read_where_there_is_no_module_as_well() -> None:
    """The loopback interface has a number, and no device that a driver could drive."""
    done = subprocess.run(["sh", "-c", modules._DRIVEN, "-", "lo"], capture_output=True, check=True)
    assert parse_driven(done.stdout) == Driven(None, 1)


@pytest.mark.parametrize("output", [b"", b"virtio_net\n", b"\xff 1 2 3 4\n"])
def test_garbage_from_the_guest_is_one_error(output: bytes) -> None:
    with pytest.raises(ProbeFailed, match="g: /proc/modules"):
        modules.MODULES.value(Result(modules.MODULES.argv, 0, output, b"", False), "g")
