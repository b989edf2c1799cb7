"""Defects of a running guest that the checks of its network must catch."""

from __future__ import annotations

from tests.end_to_end.defects.model import Defect, instead

# The third NIC comes while the check runs, and goes.
DOWN_WITH_THE_THIRD = """systemd-run --quiet sh -c '
    until [ -e /sys/class/net/eth2 ]; do sleep 0.1; done
    while [ -e /sys/class/net/eth2 ]; do sleep 0.05; done
    ip link set eth1 down'
"""

# The program that answers in the guest is ended as soon as it has heard anything.
END_WHO_HEARD = """systemd-run --quiet sh -c '
    until ss -HOtnpi state established | grep python3 | grep -q bytes_received; do sleep 0.1; done
    pkill -f "python3 - echo"'
"""

# Programs ask by name, and are told nothing of what they want changed.
DEAF_ETHTOOL = "cp /usr/sbin/ethtool /root/ethtool; " + instead(
    "/usr/sbin/ethtool", 'case "$1" in {options}) ;; *) exec /root/ethtool "$@" ;; esac'
)

# Another driver's link in the place of the NIC in sysfs, with all that lies below.
FOREIGN_DRIVER = """set -e
device=$(readlink -f /sys/class/net/eth0/device)
mkdir /run/below
mount --bind "$device/net" /run/below
mount -t tmpfs none "$device"
mkdir "$device/net"
mount --bind /run/below "$device/net"
ln -s /sys/bus/pci/drivers/igb "$device/driver"
"""

# As a daemon would that gives up on a NIC when its cable is pulled.
DOWN_WITH_ITS_CABLE = """systemd-run --quiet sh -c '
    until [ "$(cat /sys/class/net/eth1/carrier)" = 0 ]; do sleep 0.05; done
    ip link set eth1 down'
"""

# For NICs that come while the check runs.
DEAF_WHEN_IT_COMES = """systemd-run --quiet sh -c '
    until [ -e /sys/class/net/{nic} ]; do sleep 0.05; done
    tc qdisc add dev {nic} root netem loss 100%'
"""

# By order, as if the third and the fourth had been found the other way round.
CROSSED = """set -e
third=$(ip -4 -o addr show dev eth2 | awk '{print $4}')
fourth=$(ip -4 -o addr show dev eth3 | awk '{print $4}')
ip -4 addr flush dev eth2
ip -4 addr flush dev eth3
ip addr add "$fourth" dev eth2
ip addr add "$third" dev eth3
"""

# Half of all source ports, and half of all ports spoken to: a path among several that swallows what goes by it.
SWALLOWS_FLOWS = """set -e
tc qdisc add dev eth1 clsact
for word in sport dport; do
    tc filter add dev eth1 egress protocol ip u32 match ip protocol 6 0xff match ip $word 2 2 action drop
done
"""

# Each request is one byte: when a hundred of them were acknowledged, no more get out.
SILENT_AFTER_A_WHILE = """set -e
tc qdisc add dev eth1 clsact
systemd-run --quiet sh -c '
    until ss -HOtni state established src 10.77.0.0/24 | grep -Eq "bytes_acked:[0-9]{3}"; do sleep 0.02; done
    tc filter add dev eth1 egress protocol ip u32 match ip protocol 6 0xff action drop'
"""

# Neighbour advertisements (RFC 4861) are dropped where they come in.
NO_NEIGHBOURS = """set -e
tc qdisc add dev eth1 clsact
tc filter add dev eth1 ingress protocol ipv6 u32 match ip6 protocol 58 0xff match u8 136 0xff at 40 action drop
"""

# Answers for whoever cannot: as many as any check asks for.
ECHO_FROM_NOBODY = instead(
    "/usr/bin/ping", "seq -f '64 bytes from it: icmp_seq=%g ttl=64' 100; echo 100 packets transmitted"
)

NETWORK = (
    Defect(
        "N01",
        "test_the_nic_is_the_hypervisors_own_and_carries_packets",
        "the NIC is driven as if it were real hardware",
        FOREIGN_DRIVER,
    ),
    Defect(
        "N02",
        "test_guests_talk",
        "a NIC loses a fifth of what it sends",
        "tc qdisc add dev eth1 root netem loss 20%",
    ),
    Defect(
        "N03",
        "test_a_nic_is_added_while_running",
        "the kernel finds a new NIC and gives it no driver",
        "echo 0 > /sys/bus/virtio/drivers_autoprobe",
    ),
    Defect(
        "N04",
        "test_a_nic_is_removed_while_running",
        "when a NIC goes, the one beside it goes down",
        DOWN_WITH_THE_THIRD,
    ),
    Defect(
        "N05",
        "test_nics_are_added_until_there_are_eight",
        "of the NICs that come, one is connected to nothing",
        DEAF_WHEN_IT_COMES.format(nic="eth3"),
    ),
    Defect(
        "N05",
        "test_a_guest_boots_with_eight_nics",
        "two of the NICs were set up by their order and not by their MACs",
        CROSSED,
    ),
    Defect(
        "N07",
        "test_a_pulled_cable_is_seen_and_a_plugged_one_works",
        "a NIC whose cable was pulled is switched off and stays off",
        DOWN_WITH_ITS_CABLE,
    ),
    Defect(
        "N08",
        "test_an_interface_that_went_down_comes_back",
        "an interface that went down has lost its address when it comes up again",
        """set -e
        systemctl stop systemd-networkd.socket systemd-networkd.service
        systemd-run --quiet sh -c '
            until grep -q down /sys/class/net/eth0/operstate; do sleep 0.1; done
            ip -4 address flush dev eth0'
        """,
    ),
    Defect(
        "N09",
        "test_jumbo_frames_pass_whole",
        "another MTU is taken without a word and never set",
        "cp /usr/bin/ip /root/ip; " + instead("/usr/bin/ip", 'case "$*" in *mtu*) ;; *) exec /root/ip "$@" ;; esac'),
    ),
    Defect(
        "N10",
        "test_a_vlan_separates_guests",
        "an echo comes back from where nobody can be",
        ECHO_FROM_NOBODY,
    ),
    Defect(
        "N10",
        "test_a_trunk_carries_the_vlans_it_allows",
        "an echo comes back from a VLAN that the trunk does not allow",
        ECHO_FROM_NOBODY,
    ),
    Defect(
        "N12",
        "test_rings_take_any_size_up_to_the_largest",
        "another size of a ring is taken without a word and never set",
        DEAF_ETHTOOL.format(options="--set-ring"),
    ),
    Defect(
        "N14",
        "test_streams_fill_the_network_and_all_of_it_arrives",
        "of the paths that streams are spread over, one swallows them",
        SWALLOWS_FLOWS,
    ),
    Defect(
        "N14",
        "test_requests_are_answered_one_by_one",
        "a connection falls silent after some hundred requests",
        SILENT_AFTER_A_WHILE,
    ),
    Defect(
        "N15",
        "test_the_host_knows_every_address",
        "the agent that tells the host of the guest's addresses has ended",
        "systemctl stop qemu-guest-agent",
    ),
    Defect(
        "N16",
        "test_a_connection_outlives_a_pause",
        "the guest ends connections that were used once",
        END_WHO_HEARD,
    ),
    Defect(
        "N16",
        "test_a_connection_outlives_a_save",
        "the guest ends connections that were used once",
        END_WHO_HEARD,
    ),
    Defect(
        "N17",
        "test_guests_talk_ipv6",
        "what neighbours answer does not come in",
        NO_NEIGHBOURS,
    ),
    Defect(
        "N18",
        "test_an_emulated_nic_is_what_it_imitates_and_carries_packets",
        "one of two emulated NICs has no driver",
        "basename $(readlink -f /sys/class/net/eth1/device) > /sys/class/net/eth1/device/driver/unbind",
    ),
    Defect(
        "N18",
        "test_an_emulated_nic_is_added_while_running",
        "the emulated NIC that comes is connected to nothing",
        DEAF_WHEN_IT_COMES.format(nic="eth2"),
    ),
)
