import pytest
from interop_fixtures import Capability, Expectations, Guest, Topology

from harness.guest.cpu_caches import CACHES
from harness.guest.cpus import MASKS, TOPOLOGY
from harness.guest.memory import MEMINFO
from harness.guest.numa import NUMA
from harness.measure.views import Views


@pytest.mark.check("C04")
@pytest.mark.needs(Capability.TOPOLOGY)
@pytest.mark.parametrize(
    "topology",
    [
        pytest.param(Topology(2, 2), id="2x2", marks=pytest.mark.shape(vcpus=4, topology=Topology(2, 2))),
        pytest.param(Topology(1, 2), id="1x2", marks=pytest.mark.shape(vcpus=2, topology=Topology(1, 2))),
    ],
)
def test_last_level_caches_follow_the_sockets(guest: Guest, expect: Expectations, topology: Topology) -> None:
    """A scheduler that keeps threads near their data is not misled: no cache of level 3 reaches across sockets."""
    host = guest.machine.view(expect.deadline("host.verb")).topology
    caches, seen = guest.read_all(CACHES, TOPOLOGY)
    views = Views("sockets", asked=topology.sockets, host=host and host.sockets, guest=seen.sockets)
    assert views.agree, str(views)
    if not caches.shared(3):
        pytest.skip("the guest's CPUs have no cache of level 3: its hypervisor shows none")
    wrong = caches.contradictions(3, seen)
    assert not wrong, f"the map of level 3 caches: {wrong}"


@pytest.mark.check("C05")
@pytest.mark.needs(Capability.NUMA)
@pytest.mark.shape(vcpus=4, memory="1 GiB", numa_nodes=2)
def test_numa_nodes_are_as_asked(guest: Guest, expect: Expectations) -> None:
    """A program that stays near its memory is not misled: nodes are as asked, every CPU and all memory in just one."""
    asked, limit = guest.shape.numa_nodes or 1, expect.limit("C05.memory")
    host = guest.machine.view(expect.deadline("host.verb"))
    numa, masks, memory = guest.read_all(NUMA, MASKS, MEMINFO)
    views = Views("NUMA nodes", asked=asked, host=host.numa_nodes, guest=len(numa.nodes))
    assert views.agree, str(views)
    astray = numa.astray(masks.online)
    assert not astray, f"CPUs that are not in just one node, and in how many they are: {astray}; {numa}"
    assert numa.memory == memory.total, f"the nodes have {numa.memory} together, the kernel manages {memory.total}"
    for number, node in numa.nodes.items():
        share = guest.shape.vcpus // asked
        assert len(node.cpus) == share, f"node {number} was to have {share} CPUs, it has {sorted(node.cpus)}"
        part = 100 * (node.memory * asked - guest.shape.memory) / guest.shape.memory
        assert limit.allows(part), (
            f"node {number} was to have one of {asked} parts of {guest.shape.memory}, it has {node.memory}: "
            f"{part:+.1f} %, not {limit}"
        )


@pytest.mark.check("C12")
@pytest.mark.shape(vcpus=2, max_vcpus=8)
@pytest.mark.changes_guest
@pytest.mark.smoke
def test_cpus_that_are_merely_possible_never_run(guest: Guest, expect: Expectations) -> None:
    """A host may announce CPUs that it could add one day: the guest counts on none of them."""
    host = guest.machine.view(expect.deadline("host.verb"))
    masks = guest.cpus.masks()
    views = Views("CPUs present", asked=guest.shape.vcpus, host=host.vcpus, guest=len(masks.present))
    assert views.agree, str(views)
    assert masks.possible >= masks.present, f"present {sorted(masks.present)}, possible {sorted(masks.possible)}"
    if masks.possible == masks.present:
        pytest.skip(f"{guest.hypervisor.name} announces no CPU beyond the {len(masks.present)} that are there")
    guest.cpus.bring_up()
    now = guest.cpus.masks()
    assert now.online == now.present == masks.present, f"{masks}, and after all were put in service {now}"
