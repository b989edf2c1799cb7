"""Hypervisors side by side, in a real browser: by mouse, by keyboard, and as a screen reader has the page."""

from collections import Counter

import pytest

from benchmarks.pages import sample
from harness.core import Deadline, Pending, wait_for
from harness.report import beside
from harness.report.matrix import page, table
from harness.report.render import render
from tests.unit.report_runs import result, run

TREE = ("table", "row", "rowheader", "columnheader", "cell")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """The table of 240 results and of the page that shows them."""
    ran, nights = sample(240)
    made = table([ran], nights, reference="kvm")
    return made, page.write(tmp_path_factory.mktemp("page"), made, title="night", results="index.html")


@pytest.fixture
def opened(browser, night):
    """The page, just opened."""
    browser.open(night[1].as_uri())
    browser.wait_for_text("60 tests", selector="#count")
    return browser


def shown(opened) -> list[str]:
    """Number and parameters of the rows that are there, in order."""
    visible = "[...document.querySelectorAll('tbody')].filter((one) => !one.hidden)"
    return opened.run(
        f"{visible}.map((one) => ['b', 'i'].map((tag) => one.querySelector(`th ${{tag}}`).textContent).join(' '))"
    )


def texts(opened) -> list[list[str]]:
    """Of each row: what stands in its cells as difference, and how it is called."""
    return opened.run(
        "[...document.querySelectorAll('tbody tr')].map((row) => [...row.cells].slice(1)"
        ".map((cell) => cell.querySelector('u')).map((one) => (one?.className ?? '') + '|' + (one?.textContent ?? '')))"
    )


def choose(opened, name: str, value: str) -> None:
    """Set a field, as a person does."""
    opened.run(f"{{const one = document.getElementById('{name}'); one.value = '{value}'; "
               "one.dispatchEvent(new Event('input'))}")  # fmt: skip


def test_nothing_is_asked_for_and_nothing_goes_wrong(opened, night):
    assert opened.requests == [night[1].as_uri()]
    assert opened.problems == []


def test_search_state_and_suite_narrow_the_table(opened):
    choose(opened, "words", "x00 SIZE=64")
    assert len(shown(opened)) == 10
    choose(opened, "words", "")
    choose(opened, "suite", "clock")
    assert len(shown(opened)) == 12
    choose(opened, "state", "fail")
    assert 0 < len(shown(opened)) < 12
    choose(opened, "words", "nothing says this")
    assert "No test is left" in opened.text("#nothing")


def test_only_where_hypervisors_differ_leaves_those_rows(opened, night):
    opened.run("document.getElementById('differ').click()")
    differing = [f"{row.check} {row.params}" for row in night[0].rows if row.differs]
    assert 0 < len(differing) < len(night[0].rows)
    assert shown(opened) == differing


def test_another_reference_says_the_same_as_a_page_made_for_it(opened, browser, night, tmp_path):
    """The program in the page and the library agree on every difference."""
    here = texts(opened)
    pools = [column.pool for column in night[0].columns]
    choose(opened, "reference", str(pools.index("ws2022")))
    changed = texts(opened)
    ran, nights = sample(240)
    made = page.write(tmp_path, table([ran], nights, reference="ws2022"), title="night", results="index.html")
    browser.open(made.as_uri())
    browser.wait_for_text("60 tests", selector="#count")
    assert texts(browser) == changed != here


def test_sorting_by_a_hypervisor_shows_its_failures_first(opened):
    before = shown(opened)
    opened.run("document.querySelector('thead [data-by=\"1\"]').click()")
    head = opened.run("document.querySelector('thead [data-by=\"1\"]').closest('th').getAttribute('aria-sort')")
    states = opened.run("[...document.querySelectorAll('tbody')].map((one) => one.rows[0].cells[2].className)")
    ranks = [("fail", "known", "pass", "cannot").index(state) for state in states]
    assert head == "ascending"
    assert ranks == sorted(ranks)
    assert set(ranks) >= {0, 2, 3}
    opened.run("document.querySelector('thead [data-by=test]').click()")
    assert shown(opened) == before


def test_arrows_go_from_cell_to_cell_and_the_table_is_one_stop(opened):
    stops = "[...document.querySelectorAll('td a')].filter((one) => one.tabIndex === 0).length"
    wait_for("one stop", lambda: opened.run(stops) == 1 or Pending(str(opened.run(stops))), Deadline.after(60))
    opened.run("document.querySelector('td a').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        opened.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        opened.call("Input.dispatchKeyEvent", type="keyUp", key=key)
    place = "[document.activeElement.closest('tr').rowIndex, document.activeElement.closest('td').cellIndex]"
    first = opened.run("document.querySelector('td a').closest('tr').rowIndex")
    assert opened.run(place) == [first + 2, 2]
    assert opened.run(stops) == 1


def test_a_screen_reader_finds_a_table_with_headings_for_every_row(opened, night):
    opened.call("Accessibility.enable")

    def heard() -> Counter | Pending:
        nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
        found = Counter(
            node["role"]["value"] for node in nodes if not node["ignored"] and node["role"]["value"] in TREE
        )
        return found if found["rowheader"] == 60 else Pending(str(found))

    found = wait_for("all rows", heard, Deadline.after(60))
    assert found == {"table": 1, "columnheader": 1 + 3 + 4 + 4 + 4, "row": 4 + 60, "rowheader": 60, "cell": 240}


def test_without_a_program_the_table_reads(browser, night):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(night[1].as_uri())
        browser.wait_for_text("X000 what check 0 promises is kept", "VMware ESXi", "pass", "ms ±", selector="main")
        assert browser.run("getComputedStyle(document.getElementById('ask')).display") == "none"
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_sticks_out_of_the_window(browser, night, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500)
    try:
        browser.open(night[1].as_uri())
        browser.wait_for_text("60 tests", selector="#count")
        assert browser.run("document.documentElement.scrollWidth") <= width
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_by_day_and_by_night(browser, night, scheme):
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 between every state's word and what it stands on."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(night[1].as_uri())
    browser.wait_for_text("60 tests", selector="#count")
    found = browser.run(CONTRASTS)
    assert {"pass", "fail", "known", "cannot"} <= found.keys()
    assert min(found.values()) >= 4.5, found


CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const under = (one) => {
    for (; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  const seen = {};
  for (const word of document.querySelectorAll("td a, td u, td p, td small, th i")) {
    const [high, low] = [light(parts(getComputedStyle(word).color)), light(under(word))].sort((a, b) => b - a);
    const name = word.matches("a") ? word.textContent : word.tagName;
    seen[name] = Math.min(seen[name] ?? 99, (high + 0.05) / (low + 0.05));
  }
  return seen;
})()"""


def test_a_cell_leads_to_its_result_in_allures_page_and_that_page_back(browser, tmp_path):
    results = run(tmp_path)
    result(
        results, "C01", "kvm", title="it fails here", status="failed", message="AssertionError: 7 of 8", fault="product"
    )
    result(results, "C01", "esxi8", title="it fails here")
    pages = beside.write([results], tmp_path / "report")
    rendered = render([results], tmp_path / "report", beside=pages.links)
    browser.open(pages.table.as_uri())
    browser.wait_for_text("2 hypervisors", "it fails here")
    # Opened, not clicked: what is asked of a page while another takes its place is not always answered.
    browser.open(browser.run("document.querySelector('td.fail a').href"))
    browser.wait_for_text("AssertionError: 7 of 8", "Failed", "Environments")
    assert browser.run("location.pathname") == str(rendered.page.resolve())
    browser.open(browser.run("document.querySelector('#beside a').href"))
    browser.wait_for_text("2 hypervisors", "it fails here")
