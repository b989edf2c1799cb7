"""Tests x hypervisors: what each cell says, and that the page says it to everybody and asks nobody."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from harness.core import UsageError
from harness.report import cells, history
from harness.report.environment import HostRecord
from harness.report.matrix.page import render
from harness.report.matrix.sparks import states, values
from harness.report.matrix.table import table
from harness.report.page import POLICY, outside_requests
from harness.report.quantities import Scale, change, digits
from harness.report.summary import Verdict
from tests.unit.report_runs import ESXI, KVM, result, run


@pytest.fixture
def results(tmp_path):
    """A run on two pools without a result."""
    return run(tmp_path)


def made(*folders, **options):
    """The table of some runs."""
    return table([cells.read(folder) for folder in folders], **options)


def column(found, pool):
    """A pool's place in the table."""
    return [one.pool for one in found.columns].index(pool)


def test_what_a_host_cannot_do_is_told_from_what_was_merely_skipped(results):
    result(results, "C09", "kvm", status="skipped", message="Skipped: kvm cannot: vCPUs added (CPU_HOT_ADD)")
    result(results, "T16", "kvm", status="skipped", message="Skipped: kvm cannot show this: time is told by hpet")
    result(results, "C12", "kvm", status="skipped", message="Skipped: kvm announces no CPU")
    shown = [(row.cells[0].word, row.cells[0].reason) for row in made(results).rows]
    assert shown == [
        ("cannot", "vCPUs added (CPU_HOT_ADD)"),
        ("skip", "kvm announces no CPU"),
        ("cannot", "time is told by hpet"),
    ]


def test_whose_fault_it_was_is_the_cells_state(results):
    for number, fault in enumerate(("product", "guest", "lab", "harness")):
        result(results, f"C0{number}", "kvm", status="failed" if fault == "product" else "broken", fault=fault)
    assert [row.cells[0].word for row in made(results).rows] == ["fail", "guest", "lab", "error"]


def test_of_two_runs_of_one_pool_the_newer_shows(tmp_path):
    for number, status in enumerate(("passed", "failed")):
        result(run(tmp_path, f"r{number}"), "C01", "kvm", status=status, start=1_767_225_600 + number)
    found = made(tmp_path / "r1", tmp_path / "r0")
    assert [cell.word for cell in found.rows[0].cells] == ["fail"]
    assert found.runs == ("r0", "r1")


def test_columns_are_grouped_by_product_build_and_image(tmp_path):
    other = HostRecord("ws", "ws", "hyperv", "Microsoft Hyper-V", "10.0", "hyperv")
    newer = replace(KVM, name="kvm-2", pool="kvm9", version="9.0.0")
    result(run(tmp_path, "a", hosts=(other, KVM, newer)), "C01", "ws")
    for pool in ("kvm", "kvm9"):
        result(tmp_path / "a" / "results", "C01", pool)
    result(run(tmp_path, "b", hosts=(KVM,), image="debian13"), "C01", "kvm")
    found = made(tmp_path / "a", tmp_path / "b")
    assert [(one.pool, one.image) for one in found.columns] == [
        ("ws", "debian12"), ("kvm", "debian12"), ("kvm", "debian13"), ("kvm9", "debian12"),
    ]  # fmt: skip
    assert found.groups("product") == [(("Microsoft Hyper-V",), 1), (("QEMU/libvirt",), 3)]
    assert found.groups("product", "build") == [(("10.0",), 1), (("8.2.2",), 2), (("9.0.0",), 1)]


def test_the_reference_is_no_twin_unless_it_is_asked_for(results):
    for pool in ("kvm", "esxi8"):
        result(results, "C01", pool)
    found = made(results)
    assert found.columns[found.reference].pool == "kvm"
    assert made(results, reference="esxi8").reference == column(found, "esxi8")
    with pytest.raises(UsageError, match="no column is of the pool 'ws'") as caught:
        made(results, reference="ws")
    assert "kvm, esxi8" in caught.value.hint


def boots(results, ours, theirs, samples=()):
    """A boot's measurement on two pools, with the same samples around each."""
    for pool, value in (("kvm", ours), ("esxi8", theirs)):
        taken = {"name": "boot", "value": value, "samples": [value + one for one in samples]}
        result(results, "L02", pool, measured=[taken])
    found = made(results)
    return found.rows[0], found.rows[0].cells[column(found, "esxi8")].value


NARROW = (-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3)


def test_a_difference_beyond_both_uncertainties_is_better_or_worse(results):
    row, value = boots(results, 10, 12, NARROW)
    assert (value.text, value.known, value.change, value.trend) == ("12.0 s", "± 0.300", "+20 %", "worse")
    assert row.differs


def test_a_difference_within_the_uncertainties_is_only_told(results):
    row, value = boots(results, 10, 10.5, NARROW)
    assert (value.change, value.trend, row.differs) == ("+5.0 %", "", False)


def test_a_value_that_nobody_knows_the_uncertainty_of_is_neither_better_nor_worse(results):
    row, value = boots(results, 10, 100)
    assert (value.change, value.trend, row.differs) == ("×10", "", False)


def test_what_a_skipped_test_measured_is_neither_better_nor_worse(results):
    """It was skipped for telling nothing, such as on a host that was not quiet."""
    taken = {"name": "speed_up", "value": 1.5, "samples": [1.5 + one for one in NARROW]}
    result(results, "C07", "esxi8", status="skipped", message="Skipped: not quiet", measured=[taken])
    result(results, "C07", "kvm", measured=[{**taken, "value": 3.0, "samples": [3 + one for one in NARROW]}])
    found = made(results)
    value = found.rows[0].cells[column(found, "esxi8")].value
    assert (value.text, value.known, value.change, value.trend) == ("1.50 s", "", "-50 %", "")
    page = render(found, title="lab", results="index.html")
    assert "class=skip data-v=1.5>" in page, "as the page compares with another column, it must not know better"
    assert "class=pass data-v=3.0 data-e=" in page


def test_runs_that_vary_more_than_their_samples_say_how_well_a_value_is_known(results):
    result(results, "L02", "kvm", measured=[{"name": "boot", "value": 10.0, "samples": [10 + one for one in NARROW]}])
    night = history.of(cells.read(results))

    def earlier(number):
        entry = replace(night.entries[0], figures=(replace(night.entries[0].figures[0], value=10.0 + number % 3),))
        return replace(night, run=f"e{number}", start=night.start - timedelta(days=1 + number), entries=(entry,))

    (value,) = (row.cells[0].value for row in made(results, history=[night, *map(earlier, range(8))]).rows)
    assert value.source == "between the last 9 runs"
    assert value.uncertainty == pytest.approx(2 * 1.4826)


def test_further_measurements_have_rows_of_their_own(results):
    taken = [{"name": name, "value": 1} for name in ("boot_kernel", "boot", "boot_initrd")]
    result(results, "L02", "kvm", measured=taken)
    (row,) = made(results).rows
    assert (row.figure, [one.name for one in row.more]) == ("boot", ["boot_initrd", "boot_kernel"])


def test_hypervisors_differ_where_one_cannot_and_not_where_one_was_not_asked(results):
    result(results, "C01", "kvm")
    result(results, "C09", "kvm")
    result(results, "C09", "esxi8", status="skipped", message="Skipped: esxi8 cannot: x (X)")
    result(results, "C10", "esxi8")
    found = made(results)
    assert [row.differs for row in found.rows] == [False, True, False]
    assert found.rows[1].cells[column(found, "esxi8")].change == "pass"


def test_parameters_sort_as_numbers(results):
    for vcpus in ("16", "2", "4"):
        result(results, "C01", "kvm", params=(("vcpus", vcpus),))
    assert [row.params for row in made(results).rows] == ["vcpus=2", "vcpus=4", "vcpus=16"]


def test_a_sparkline_has_the_newest_run_at_its_right_end():
    drawn = states([Verdict.PASSED, Verdict.PASSED, Verdict.FAILED], 30)
    assert 'd="M54 11h4"' in drawn
    assert 'd="M58 3h2"' in drawn
    assert "last 3 runs: 2 passed, 1 failed" in drawn
    assert values([1.0, None, 3.0], 30, "a & b").count("L") == 1
    assert "a &amp; b" in values([1.0, 2.0], 30, "a & b")
    assert states([Verdict.PASSED], 30) == values([1.0], 30, "") == ""


@pytest.mark.parametrize(
    ("value", "reference", "words"),
    [(1.034, 1, "+3.4 %"), (0.4, 1, "-60 %"), (12, 1, "×12"), (1.0001, 1, "0 %"), (1, 0, ""), (-1, -2, "+50 %")],
)
def test_differences_read_as_people_say_them(value, reference, words):
    assert change(value, reference) == words


def test_numbers_of_a_row_share_a_prefix():
    scale = Scale.of("s", [0.0121, 0.00081])
    assert [scale.text(0.0121), scale.text(0.00081)] == ["12.1 ms", "0.810 ms"]
    assert Scale.of("B/s", [3 * 2**20]).text(3 * 2**20) == "3.00 MiB/s"
    assert [digits(value) for value in (0, 1234.5, 0.000604, 1.5e-7)] == ["0", "1234", "0.000604", "1.50e-07"]


class Seen(HTMLParser):
    """What tags a page has, and in which row of the body each cell stands."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.rows, self.links = Counter(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags[tag] += 1
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append((tag, values.get("scope"), values.get("role"), int(values.get("colspan", 1))))
        elif tag == "a":
            self.links.append(values.get("href"))


HOSTILE = "AssertionError: <script>fetch('//x.test')</script><img src=//x.test/a.png>\"' onload=x"


@pytest.fixture
def page(results):
    """A page with a failure whose message is not nice."""
    result(results, "C01", "kvm", status="failed", message=HOSTILE, title="<b>bold</b>")
    result(results, "L02", "esxi8", measured=[{"name": "boot", "value": 2}, {"name": "boot_kernel", "value": 1}])
    return render(made(results), title="<i>lab</i>", results="index.html")


def test_the_page_asks_nobody_anything_whatever_guests_said(page):
    assert outside_requests(page) == []
    assert POLICY in page
    assert Seen(page).tags["script"] == 1
    assert Seen(page).tags["img"] == 0
    assert "<i>lab" not in page
    assert "<b>bold" not in page
    assert "&lt;script&gt;fetch" in page


def test_every_row_has_its_heading_and_a_cell_for_each_hypervisor(page):
    rows = Seen(page).rows
    assert [sum(span for *_, span in row) for row in rows[:4]] == [3, 2, 2, 2]
    for row in rows[4:]:
        assert [cell[:3] for cell in row] == [("th", "row", "rowheader")] + [("td", None, "cell")] * 2
    assert all(cell[1] in ("col", "colgroup") for row in rows[:4] for cell in row)


def test_a_cell_links_to_its_result_by_the_name_that_allure_gives_it(results):
    result(results, "C01", "kvm")
    (path,) = results.glob("*-result.json")
    path.write_text(path.read_text().replace("C01-kvm-0", "0f5c2a52-6f0b-4c5b-9a3e-2d8c1b7e4a90"))
    links = Seen(render(made(results), title="x", results="index.html")).links
    assert "index.html#0b93a03356b2480d057fd0919ca532ff" in links, "the MD5 of the result's uuid"


def test_without_allures_page_no_cell_links_into_nothing(results):
    result(results, "C01", "kvm")
    assert not [link for link in Seen(render(made(results), title="x")).links if link and "index.html" in link]


def test_stand_ins_are_called_so(results):
    result(results, "C01", "esxi8")
    assert ">twin</span>" in render(made(results), title="x")
    assert ESXI.twin


def test_the_page_is_the_same_bytes_for_the_same_results(results):
    for pool in ("kvm", "esxi8"):
        result(results, "C01", pool)
    assert render(made(results), title="x") == render(made(results), title="x")


def test_another_image_or_release_has_a_history_of_its_own(results):
    result(results, "C01", "kvm")
    night = history.of(cells.read(results))
    others = [
        replace(night, run=f"e{number}", start=night.start - timedelta(days=1 + number), **changed)
        for number, changed in enumerate(({}, {"release": "new-tools"}, {"image": "debian13"}, {"lab": "other"}))
    ]
    (row,) = made(results, history=[night, *others]).rows
    assert "last 2 runs: 2 passed" in row.cells[0].spark


def test_a_known_failure_says_where_it_is_followed(results):
    result(results, "C01", "kvm", status="failed", message="AssertionError: x")
    (path,) = results.glob("*-result.json")
    told = json.loads(path.read_text())
    told["statusDetails"]["known"] = True
    told["links"] = [{"type": "issue", "url": "https://bugs.test/7", "name": "known issue: 7"}]
    path.write_text(json.dumps(told))
    (row,) = made(results).rows
    assert (row.cells[0].word, row.cells[0].note) == ("known", "followed at https://bugs.test/7")
