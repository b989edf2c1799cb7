"""Whether KVM works is decided by a boot, and remembered."""

import pytest

from harness.qemu.accel import Accel, decide

REACHES_A_SHELL = (
    "#!/bin/sh\n[ \"$1\" = --version ] && echo fake 1.0 && exit\nprintf 'kernel...\\n(initramfs) '\nsleep 60\n"
)
HANGS = '#!/bin/sh\n[ "$1" = --version ] && echo fake 1.0 && exit\nprintf "early console"\nexec sleep 60\n'
REFUSES = '#!/bin/sh\n[ "$1" = --version ] && echo fake 1.0 && exit\necho "failed to initialize kvm" >&2; exit 1\n'


@pytest.fixture
def ask(tmp_path):
    """Asks with an emulator that behaves as scripted."""
    (tmp_path / "kernel").write_bytes(b"kernel")
    (tmp_path / "initrd").touch()

    def asked(script, device="/dev/null", kernel=True, seconds=10.0):
        emulator = tmp_path / "qemu"
        emulator.write_text(script)
        emulator.chmod(0o755)
        files = (tmp_path / "kernel", tmp_path / "initrd") if kernel else (None, None)
        return decide(emulator, *files, tmp_path / "cache.json", seconds=seconds, device=tmp_path.joinpath(device))

    return asked


def test_a_shell_proves_kvm(ask):
    assert ask(REACHES_A_SHELL).accel is Accel.KVM


def test_a_hang_means_tcg_and_says_what_was_seen(ask):
    verdict = ask(HANGS, seconds=1.0)
    assert verdict.accel is Accel.TCG
    assert "did not reach a shell within 1 s" in verdict.reason
    assert "early console" in verdict.reason


def test_a_refusal_means_tcg_and_quotes_qemu(ask):
    verdict = ask(REFUSES)
    assert verdict.accel is Accel.TCG
    assert "ended early" in verdict.reason
    assert "failed to initialize kvm" in verdict.reason


def test_the_verdict_is_remembered(ask, tmp_path):
    ask(REACHES_A_SHELL)
    assert ask(REFUSES).accel is Accel.KVM
    (tmp_path / "cache.json").write_text("rubbish")
    assert ask(REFUSES).accel is Accel.TCG


def test_another_kernel_is_asked_anew(ask, tmp_path):
    ask(REACHES_A_SHELL)
    (tmp_path / "kernel").write_bytes(b"other")
    assert ask(REFUSES).accel is Accel.TCG


@pytest.mark.parametrize(("case", "reason"), [({"device": "none"}, "not accessible"), ({"kernel": False}, "no kernel")])
def test_without_device_or_kernel_nothing_is_booted(ask, case, reason):
    verdict = ask(REACHES_A_SHELL, **case)
    assert (verdict.accel, verdict.seconds) == (Accel.TCG, 0.0)
    assert reason in verdict.reason
