"""What an image must hold: data, and how answers are judged."""

from harness.image.requirements import REQUIREMENTS, Kind, Question, commands, judge

RELEASE = "6.1.0-1-amd64"


def answers(status: int, output: str = "") -> dict[tuple[str, ...], tuple[int, str]]:
    return dict.fromkeys(commands(RELEASE), (status, output))


def test_a_guest_that_knows_nothing_meets_nothing() -> None:
    assert not any(finding.met for finding in judge(answers(1), RELEASE))


def test_one_way_of_having_it_is_enough() -> None:
    said = answers(1) | {("test", "-x", "/usr/sbin/hypervkvpd"): (0, "")}
    assert [finding.requirement.name for finding in judge(said, RELEASE) if finding.met] == ["hv_kvp_daemon"]


def test_a_module_built_into_the_kernel_needs_no_initramfs() -> None:
    said = answers(1) | {("modinfo", "-n", "virtio_blk"): (0, "(builtin)\n")}
    met = {(finding.requirement.kind, finding.requirement.name) for finding in judge(said, RELEASE) if finding.met}
    assert met == {(Kind.DRIVER, "virtio_blk"), (Kind.INITRAMFS, "virtio_blk")}


def test_an_initramfs_is_read_once_for_all_its_modules() -> None:
    asked = commands(RELEASE)
    assert len(asked) == len(set(asked))
    assert ("lsinitramfs", f"/boot/initrd.img-{RELEASE}") in asked


def test_a_word_in_the_output_may_be_asked_for() -> None:
    question = Question(("x",), "wanted")
    assert question.answered(0, "it is wanted here")
    assert not question.answered(0, "it is not here")
    assert not question.answered(1, "wanted")


def test_every_hypervisor_has_a_disk_and_a_nic_it_cannot_do_without() -> None:
    for hypervisor in ("kvm", "hyperv", "vsphere"):
        whys = {one.why for one in REQUIREMENTS if one.hypervisor == hypervisor and one.essential}
        assert {"the root disk is not found", "the guest cannot be reached"} <= whys
