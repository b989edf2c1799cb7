"""The command line, typed."""

from datetime import timedelta

import pytest

from harness.core import UsageError
from harness.plugin import options
from harness.report import exporting

pytest_plugins = ["pytester"]


def read(pytester, *arguments):
    return options.read(pytester.parseconfig(*arguments))


def test_the_defaults_need_nothing_but_this_machine(pytester):
    chosen = read(pytester)
    assert (chosen.lab, chosen.image, chosen.keep) == ("local", "debian12", None)
    assert chosen.report_dir == pytester.path / "reports" / "out"


@pytest.mark.parametrize(
    ("text", "span"),
    [("failed", timedelta(hours=24)), ("failed:90m", timedelta(minutes=90)), ("failed:2d", timedelta(days=2))],
)
def test_keep_takes_a_span(pytester, text, span):
    assert read(pytester, "--keep", text).keep == span


@pytest.mark.parametrize("text", ["all", "failed:", "failed:x", "failed:10"])
def test_any_other_keep_says_how_it_is_written(pytester, text):
    with pytest.raises(UsageError, match="failed:24h"):
        read(pytester, "--keep", text)


def test_check_leaves_the_checks_of_a_number_or_a_pattern(pytester):
    """Also of several; a test without a number is none of them."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.check("ACME-001")
        def test_one(host): ...

        @pytest.mark.check("ACME-002")
        def test_two(host): ...

        @pytest.mark.check("ACME-101")
        def test_three(host): ...

        def test_without(host): ...

        def test_a_stranger(): ...
        """
    )
    listed = pytester.runpytest("--collect-only", "-q", "--host", "kvm", "--check", "ACME-00*", "--check", "ACME-101")
    told = "\n".join(listed.outlines)
    assert [name for name in ("one", "two", "three", "without", "a_stranger") if f"test_{name}" in told] == [
        "one",
        "two",
        "three",
    ]


@pytest.fixture
def checkout(pytester, tmp_path):
    """A folder with settings of pytest, and a lab file that lies elsewhere."""
    pytester.makeini("[pytest]\ntestpaths = mine")
    pytester.mkdir("mine")
    (tmp_path / "lab.yaml").touch()
    return tmp_path / "lab.yaml"


def test_a_lab_file_elsewhere_takes_nobodys_settings_away(pytester, checkout):
    """Pytest would collect whatever is below the working directory, and nobody would know why."""
    with pytest.raises(pytest.UsageError, match="forgets its settings") as told:
        pytester.parseconfigure("--lab", str(checkout))
    assert f"write it in one word: --lab={checkout}" in str(told.value)
    assert pytester.parseconfigure(f"--lab={checkout}").getoption("--lab") == str(checkout)


def test_nor_does_a_report_folder_that_is_there_from_the_run_before(pytester, checkout):
    with pytest.raises(pytest.UsageError, match="--report-dir="):
        pytester.parseconfigure("--report-dir", str(checkout.parent))


@pytest.mark.parametrize("words", [("mine",), ("-c", "other.ini")])
def test_who_names_tests_or_settings_may_write_it_in_two(pytester, checkout, words):
    pytester.path.joinpath("other.ini").write_text("[pytest]\n")
    assert pytester.parseconfigure("--lab", str(checkout), *words).getoption("--lab") == str(checkout)


def test_where_there_are_no_settings_none_are_forgotten(pytester, tmp_path):
    (tmp_path / "lab.yaml").touch()
    lab = str(tmp_path / "lab.yaml")
    assert pytester.parseconfigure("--lab", lab).getoption("--lab") == lab


def test_the_target_of_an_exporter_holds_no_password(pytester, monkeypatch):
    """A command line is everybody's to read; the message does not repeat it either."""
    monkeypatch.setattr(exporting, "find", lambda name: name)
    with pytest.raises(UsageError, match="--export store: a password never stands in an address") as caught:
        read(pytester, "--export", "store=https://robot:hunter2@far/results")
    assert "hunter2" not in str(caught.value)
    assert read(pytester, "--export", "store=https://far/results").exports == ("store=https://far/results",)
