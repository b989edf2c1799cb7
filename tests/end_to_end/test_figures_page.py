"""Figures in a real browser: seen whole and read, on a desk and on a phone."""

import pytest

from harness.report import plots
from harness.report.plots import page
from tests.unit.plotted import BOOT, OFFSETS, SPEED, night

SMALLEST = 8
"""Pixels that letters of a chart must have at least."""
CHARTS = """[...document.querySelectorAll('svg.chart')].map((chart) => {
  const texts = [...chart.querySelectorAll('text')].map((one) => [one.textContent, one.getBoundingClientRect()]);
  const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
  const size = (one) => parseFloat(getComputedStyle(one).fontSize) * scale;
  const smallest = Math.min(...[...chart.querySelectorAll('text')].map(size));
  const apart = (one, other) => one < other + smallest / 4 + 1;  // what figures leave free of their line
  const meet = (a, b) => !apart(a.right, b.left) && !apart(b.right, a.left)
    && !apart(a.bottom, b.top) && !apart(b.bottom, a.top);
  return {
    name: chart.querySelector('title').textContent,
    hidden: chart.parentElement.scrollWidth - chart.parentElement.clientWidth,
    smallest,
    cut: texts.filter(([, box]) => box.left < chart.getBoundingClientRect().left - 1
      || box.right > chart.getBoundingClientRect().right + 1).map(([words]) => words),
    overlapping: texts.flatMap(([words, box], place) => texts.slice(place + 1)
      .filter(([, other]) => meet(box, other)).map(([other]) => `${words} / ${other}`)),
  };
})"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The page of a fortnight."""
    nights = [night(number, C07=SPEED, T06=OFFSETS, L02=BOOT) for number in range(14)]
    return page.write(tmp_path_factory.mktemp("page"), plots.drawings([], nights), title="night", table="matrix.html")


@pytest.mark.parametrize("width", [1400, 390])
def test_charts_are_seen_whole_and_can_be_read(browser, figures, width):
    """Nothing to scroll for, no word cut off or behind another, and letters as large as a small print."""
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500)
    try:
        browser.open(figures.as_uri())
        browser.wait_for_text("night: figures", "Boot, from power-on")
        charts = browser.run(CHARTS)
        assert len(charts) >= 4
        for chart in charts:
            assert chart["hidden"] == 0, chart
            assert chart["smallest"] >= SMALLEST, chart
            assert chart["cut"] == [], chart
            assert chart["overlapping"] == [], chart
        assert browser.run("document.documentElement.scrollWidth") <= width
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")
