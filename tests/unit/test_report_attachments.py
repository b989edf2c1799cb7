"""Whatever a guest prints becomes text that is safe to look at."""

from harness.core import Size
from harness.report.attachments import bound, bound_file, text


def test_bytes_that_are_no_text_are_spelt_out():
    assert text(b"ok \xff\xfe\x00\x07 \xc3\xa9") == "ok \\xff\\xfe\\x00\\x07 é"


def test_colours_vanish_and_other_escapes_show():
    assert text(b"\x1b[1;31mpanic\x1b[0m \x1b]0;title\x07") == "panic \\x1b]0;title\\x07"


def test_line_ends_of_a_serial_port_become_plain_ones():
    assert text(b"one\r\ntwo\n\rthree") == "one\ntwo\nthree"


def test_text_cannot_pretend_to_run_the_other_way():
    assert text("user\u202etxt.exe") == "user\\u202etxt.exe"


def test_what_fits_is_kept_whole():
    assert bound(b"x" * 100, Size(100)) == b"x" * 100


def test_too_long_a_log_keeps_beginning_and_end_and_says_so():
    log = b"".join(b"line %05d\n" % number for number in range(10_000))
    kept = text(log, Size(4096))
    assert kept.startswith("line 00000\n")
    assert kept.endswith("line 09999\n")
    assert "left out here" in kept
    assert len(kept) < 4096 + 100
    assert all(line.startswith(("line ", "[...")) for line in kept.splitlines() if line)


def test_a_huge_file_is_cut_like_the_same_bytes(tmp_path):
    log = b"".join(b"line %05d\n" % number for number in range(10_000))
    (tmp_path / "log").write_bytes(log)
    assert bound_file(tmp_path / "log", Size(4096)) == bound(log, Size(4096))


def test_one_endless_line_is_bounded_too():
    assert len(bound(b"x" * 100_000, Size(1000))) < 1100
