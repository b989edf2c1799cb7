"""What a console says when a guest is lost."""

from __future__ import annotations

import pytest

from harness.guest.panic import find

PANIC = """\
[    1.0] first
[   12.1] sysrq: Trigger a crash
[   12.2] Kernel panic - not syncing: sysrq triggered crash
[   12.3] Call Trace:
[   12.4]  panic+0x118/0x2f4
[   12.5] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---
[   13.0] rubbish after the end
"""


def test_a_panic_is_told_with_what_led_to_it_and_no_more():
    """From some lines before, to its own end."""
    death = find(PANIC)
    assert death
    assert death.description == "kernel panic"
    assert "sysrq: Trigger a crash" in death.text
    assert death.text.splitlines()[-1].startswith("[   12.5]")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "kernel panic"),
        ("You are in emergency mode. After logging in, type", "emergency shell"),
        ("(initramfs) ", "initramfs shell"),
        ("grub rescue> ", "boot loader prompt"),
        ("No bootable device.", "nothing to boot"),
    ],
)
def test_every_sign_is_known_by_its_line(line, what):
    """The texts are those of kernel, systemd, initramfs, boot loader and firmware."""
    death = find(f"before\n{line}\n")
    assert death
    assert death.description == what
    assert line.strip() in death.text


@pytest.mark.parametrize(
    "line", ["", "WARNING: CPU: 1 PID: 1 at foo", "BUG: soft lockup", "login: grub> is a program", "panic=10"]
)
def test_what_a_guest_may_survive_is_no_death(line):
    """Checks look for those; a guest may go on."""
    assert find(f"before\n{line}\nafter\n") is None


def test_an_endless_trace_is_cut():
    """The excerpt stays readable."""
    death = find("x\n" * 1000 + "Kernel panic - not syncing: a\n" + "y\n" * 1000)
    assert death
    assert len(death.text.splitlines()) <= 50
