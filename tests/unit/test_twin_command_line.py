"""What a twin's QEMU is started with."""

from pathlib import Path

from harness.twins.engine import devices
from harness.twins.engine.commandline import Shape, _sizes  # the whole line needs a host
from harness.twins.engine.personality import VMWARE
from harness.twins.engine.values import Disk, Hardware


def sizes(**hardware: int) -> list[str]:
    return _sizes(Shape(Hardware("uuid", "name", memory=1 << 30, **hardware)))


def test_nodes_share_out_vcpus_and_memory() -> None:
    words = sizes(vcpus=4, numa_nodes=2)
    assert [word for word in words if word.startswith("node,")] == [
        "node,nodeid=0,cpus=0-1,memdev=node-0",
        "node,nodeid=1,cpus=2-3,memdev=node-1",
    ]
    assert sum(f'"size":{512 << 20}' in word for word in words) == 2


def test_a_machine_that_asked_for_none_has_none() -> None:
    assert "-numa" not in sizes(vcpus=4)


def test_a_disk_has_the_sectors_that_were_asked_for() -> None:
    """QEMU is told of others than its own alone: a machine's saved memory depends on what its devices are."""
    usual, large = Disk(Path("/usual"), 1 << 30), Disk(Path("/large"), 1 << 30, sector=4096)
    trees = [devices.disk(VMWARE, disk, Path("/layer.qcow2"), None) for disk in (usual, large)]
    found = [{key: value for key, value in tree.items() if key.endswith("_block_size")} for tree in trees]
    assert found == [{}, {"logical_block_size": 4096, "physical_block_size": 4096}]
