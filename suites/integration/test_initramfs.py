import pytest
from interop_fixtures import Expectations, Guest

from harness.guest.initramfs import Initramfs


@pytest.mark.check("I03")
@pytest.mark.smoke
def test_the_initramfs_can_boot_on_this_hypervisor(guest: Guest, expect: Expectations) -> None:
    """The next boot finds its root disk and network as well: their drivers are in the initramfs, or in the kernel."""
    packed, built_in = Initramfs(guest).modules(), Initramfs(guest).built_in()
    missing = set(expect.words("boot_drivers")) - packed - built_in
    assert not missing, (
        f"neither built in nor in the initramfs of {guest.kernel.version()}: {sorted(missing)}; "
        f"it holds {sorted(packed)}"
    )
