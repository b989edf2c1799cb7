"""Many facts for one round trip, with nothing lost and nothing mixed up."""

from __future__ import annotations

import subprocess

import pytest

from harness.guest.batch import Batch
from harness.guest.probe import Probe, ProbeFailed


def read_all(*probes: Probe, limit: int | None = None):
    """What a guest does with the script, done by this machine's shell."""
    batch = Batch(probes)
    done = subprocess.run(batch.argv, input=batch.script, capture_output=True, timeout=30, check=False)
    parts = batch.results(done.stdout[:limit], done.stderr, "g")
    return [probe.value(part, "g") for probe, part in zip(probes, parts, strict=True)]


def raw(*argv: str, accept: tuple[int, ...] = (0,)) -> Probe[bytes]:
    return Probe(" ".join(argv), argv, bytes, accept)


def test_each_probe_gets_its_own_output():
    """In the order asked."""
    assert read_all(raw("echo", "one"), raw("echo", "two")) == [b"one\n", b"two\n"]


def test_binary_output_passes_unharmed():
    """Nothing is decoded, no byte ends a frame."""
    everything = "".join(f"\\{byte:03o}" for byte in range(256))
    assert read_all(raw("printf", everything), raw("printf", "\n\n")) == [bytes(range(256)), b"\n\n"]


@pytest.mark.parametrize("word", ["a b", "$(id)", "'", '"', "\\", "`id`", "*", "", "ü\n", ";exit 9"])
def test_arguments_are_data(word):
    """No shell reads a probe's words."""
    assert read_all(raw("printf", "%s", word), raw("echo", "next")) == [word.encode(), b"next\n"]


def test_a_failed_probe_is_named_with_what_it_said():
    """And with its status; the others are not to blame."""
    with pytest.raises(ProbeFailed, match=r"(?s)broken.*ended with 3.*no luck"):
        read_all(raw("echo", "fine"), Probe("broken", ("sh", "-c", "echo no luck >&2; exit 3"), bytes))


def test_an_accepted_status_is_no_failure():
    """Status 1 of grep stands for 'nothing found'."""
    assert read_all(raw("sh", "-c", "exit 1", accept=(0, 1))) == [b""]


def test_a_missing_command_fails_its_own_probe_only():
    """The script goes on."""
    with pytest.raises(ProbeFailed, match="no-such-command"):
        read_all(raw("echo"), raw("no-such-command"), raw("echo"))


def test_a_probe_that_reads_stdin_does_not_eat_the_script():
    """Every probe reads from nowhere."""
    assert read_all(raw("cat"), raw("echo", "still here")) == [b"", b"still here\n"]


def test_a_flood_names_the_probe_that_made_it():
    """What came before it is not blamed."""
    with pytest.raises(ProbeFailed, match="flood"):
        read_all(raw("echo"), Probe("flood", ("head", "-c", "9999", "/dev/zero"), bytes), raw("echo"), limit=5000)


def test_a_value_that_does_not_parse_is_shown():
    """The parser's complaint and what it had to read."""
    with pytest.raises(ProbeFailed, match=r"(?s)answer.*invalid literal.*forty-two"):
        read_all(Probe("answer", ("echo", "forty-two"), int))


def test_a_file_probe_reads_a_file(tmp_path):
    """Its whole content."""
    (tmp_path / "f").write_bytes(b"\0\xff\n")
    assert read_all(Probe.file(str(tmp_path / "f"), bytes)) == [b"\0\xff\n"]


def test_a_missing_file_is_a_failure_or_none_as_asked(tmp_path):
    """Empty is not missing."""
    (tmp_path / "empty").touch()
    empty = Probe.maybe_file(str(tmp_path / "empty"), lambda data: data)
    missing = Probe.maybe_file(str(tmp_path / "missing"), lambda data: data)
    assert read_all(empty, missing) == [b"", None]
    with pytest.raises(ProbeFailed, match="No such file"):
        read_all(Probe.file(str(tmp_path / "missing"), bytes))


def test_neighbouring_files_cost_one_process(tmp_path):
    """And keep their own contents: binary, empty, without a newline at the end."""
    contents = [b"\0\xff\n", b"", b"no newline", b"\n\n", b"sh\0-s\0", bytes(range(256))]
    probes = []
    for at, content in enumerate(contents):
        (tmp_path / str(at)).write_bytes(content)
        probes.append(Probe.file(str(tmp_path / str(at)), bytes))
    assert read_all(*probes, raw("echo", "x"), *probes) == [*contents, b"x\n", *contents]
    assert Batch(probes).script.count(b"cat --") == 1


def test_a_missing_file_among_others_is_blamed_alone(tmp_path):
    """By the reader's own complaint; the others have their contents."""
    (tmp_path / "there").write_text("1")
    there, missing = Probe.file(str(tmp_path / "there"), int), Probe.file(str(tmp_path / "missing"), bytes)
    with pytest.raises(ProbeFailed, match=r"(?s)/missing: .*ended with 1.*No such file"):
        read_all(there, missing, there)
    tolerant = Probe(missing.name, missing.argv, bytes, accept=(0, 1))
    assert read_all(there, tolerant, there) == [1, b"", 1]


def test_files_with_odd_names_are_read_too(tmp_path):
    """On their own."""
    odd = tmp_path / "it's odd"
    odd.write_text("2")
    (tmp_path / "even").write_text("1")
    even, odd_probe = Probe.file(str(tmp_path / "even"), int), Probe.file(str(odd), int)
    assert read_all(even, odd_probe, even, even) == [1, 2, 1, 1]


def test_the_kernels_own_files_are_read_like_any_other():
    """They have no size to go by."""
    cmdline, version = read_all(Probe.file("/proc/cmdline", bytes), Probe.file("/proc/version", bytes))
    assert version.startswith(b"Linux version ")
    assert cmdline.endswith(b"\n")


def test_files_by_pattern_come_as_one_mapping(tmp_path):
    """Path to content, over several patterns; what is missing is absent."""
    for name, content in {"a1": "x:1\ny\n", "a2": "2", "b": "é\n"}.items():
        (tmp_path / name).write_text(content)
    found = read_all(Probe.files("some", dict, f"{tmp_path}/a*", f"{tmp_path}/b", f"{tmp_path}/none*"))[0]
    assert {path.rpartition("/")[2]: content for path, content in found.items()} == {
        "a1": b"x:1\ny\n",
        "a2": b"2\n",
        "b": "é\n".encode(),
    }


def test_no_file_by_pattern_is_an_empty_mapping(tmp_path):
    """Absence is an answer."""
    assert read_all(Probe.files("none", dict, f"{tmp_path}/*")) == [{}]
