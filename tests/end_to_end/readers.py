"""Checks that only read a guest of the default shape, and so cost one boot together."""

READERS = (
    "test_every_vcpu_comes_online and 2",
    "test_every_vcpu_does_work",
    "test_the_hypervisor_is_recognised",
    "test_paravirtual_drivers_are_bound_and_used",
    "test_the_clocksource_is",
    "test_the_guest_runs_the_very_image",
    "test_firmware_is_as_asked and bios",
)
