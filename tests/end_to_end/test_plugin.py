"""The plugin as its users meet it."""

import re
import subprocess
import sys

import pytest

GREETING = """
    import pytest

    def test_a_stranger(): ...

    @pytest.mark.check("ACME-001")
    def test_a_guest_greets(guest):
        assert guest.run(["echo", "hello"]).text.strip() == "hello"

    @pytest.mark.check("ACME-002")
    def test_it_is_shared(guest):
        assert guest.run(["touch", "/run/seen"]).status == 0

    @pytest.mark.check("ACME-003")
    @pytest.mark.changes_guest
    def test_a_changed_guest_is_not_shared(guest):
        guest.run(["touch", "/run/changed"])

    @pytest.mark.check("ACME-004")
    def test_a_broken_promise(guest, measure):
        measure("answer", 42, unit="s", better="lower", samples=[41, 43])
        print("about to fail")
        assert not guest.files.exists("/run/changed")
        assert guest.run(["false"], check=False).status == 0, "false is true"

    @pytest.mark.check("ACME-005")
    def test_a_clean_guest(guests):
        guest = guests.start()
        assert not guest.files.exists("/run/seen")
        assert not guest.files.exists("/run/changed")
"""


def test_a_run_from_the_first_test_to_the_summary(run, image):
    """One run shows it all: sharing, replacing, a failure with its evidence, strangers left alone."""
    done = run(source=GREETING)
    assert done.status == pytest.ExitCode.TESTS_FAILED, done.output
    assert done.checks("passed") >= {"ACME-001", "ACME-002", "ACME-003", "ACME-005"}
    assert done.checks("failed") == {"ACME-004"}
    failed = next(found for found in done.results if found["status"] == "failed")
    names = {attachment["name"].split(": ")[-1] for attachment in failed["attachments"]}
    assert names >= {"serial console", "kernel log", "journal", "screenshot", "host's description"}
    assert "answer 42 s" in str(failed["attachments"])
    assert "test_a_stranger" in done.output or "6 " in done.output
    assert f"--image {image.digest}" in done.output
    assert "ACME-004 a broken promise" in done.output


def test_a_lab_without_the_host_asked_for_says_so(run):
    """``-m hyperv`` where there is none, or none takes part, is one helpful line."""
    done = run("-m", "hyperv", "--lab", "vsphere-twin", source=GREETING, host=None)
    assert done.status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "has no host of backend hyperv" in done.output
    done = run("-m", "hyperv", source=GREETING)
    assert done.status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "--host kvm leaves out what is of backend hyperv" in done.output


def test_a_wrong_lab_is_said_once_with_its_place(run, tmp_path):
    """Bad input opens nothing and is one message."""
    lab = tmp_path / "lab.yaml"
    lab.write_text("hosts:\n  kvm:\n    backend: kvm\n    urii: qemu:///system\n")
    done = run("--lab", str(lab), source=GREETING)
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert done.output.count("lab.yaml:4:5 hosts.kvm.urii: unknown key; did you mean 'uri'?") == 1


def test_nothing_is_opened_to_list_tests(run):
    """``--collect-only`` multiplies, and leaves no folder behind."""
    done = run("--collect-only", "-q", source=GREETING)
    assert "test_a_guest_greets[kvm]" in done.output
    assert not done.results
    assert not done.folder.exists()


def test_a_foreign_host_fixture_stays_foreign(run):
    """Other plugins have a fixture called ``host`` too."""
    source = """
        import pytest

        @pytest.fixture
        def host():
            return "theirs"

        def test_theirs(host):
            assert host == "theirs"
    """
    done = run(source=source)
    assert done.status == pytest.ExitCode.OK
    assert not done.results


def test_a_failed_guest_is_kept_for_a_closer_look(run):
    """``--keep failed`` leaves it running, the user logs in by the real client, and gives it back."""
    source = """
        import pytest

        @pytest.mark.check("ACME-030")
        def test_leaves_a_trace(guest):
            guest.files.write("/run/trace", b"seen by the one who looks")
            assert False
    """
    done = run("--keep", "failed:30m", source=source)
    kept = re.search(r"interop guest ssh (\S+?)`", done.output)
    assert kept, done.output
    assert kept[1] in interop("guest", "list")
    assert "seen by the one who looks" in interop("guest", "ssh", kept[1], "cat", "/run/trace")
    interop("guest", "release", kept[1])
    assert kept[1] not in interop("guest", "list")


def interop(*words: str) -> str:
    """The command's output; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout
