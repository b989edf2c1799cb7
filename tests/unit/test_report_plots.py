"""Charts: the law that is fitted, the same bytes each time, and the same data as a table."""

import re
from dataclasses import replace

import pytest
from scipy.optimize import curve_fit

from harness.report import cells, history, plots
from harness.report.measured import Figure
from harness.report.page import outside_requests
from harness.report.plots import page
from harness.report.plots.chart import linear, logarithmic, times
from harness.report.plots.latency import percentile
from harness.report.plots.usl import fit
from tests.unit.plotted import BOOT, OFFSETS, SPEED, law, night
from tests.unit.report_runs import result, run

SIZES = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(("sigma", "kappa"), [(0.05, 0.002), (0.0, 0.001), (0.3, 0.0), (0.0, 0.0), (1.0, 0.0)])
def test_a_law_without_noise_is_found_again(sigma, kappa):
    found = fit([(number, law(number, sigma, kappa)) for number in SIZES])
    assert (found.sigma, found.kappa) == pytest.approx((sigma, kappa), abs=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("noise", [(0.03, -0.02, 0.05, -0.04, 0.02, -0.03), (-0.05, 0.06, -0.02, 0.04, -0.06, 0.01)])
@pytest.mark.parametrize(("sigma", "kappa"), [(0.05, 0.002), (0.0, 0.0005), (0.02, 0.0)])
def test_no_other_fit_of_the_law_leaves_less_over(noise, sigma, kappa):
    """Against scipy's bounded least squares."""
    points = [(number, law(number, sigma, kappa) * (1 + one)) for number, one in zip(SIZES, noise, strict=True)]
    sizes, seen = zip(*points, strict=True)
    best, _ = curve_fit(law, sizes, seen, p0=(0.05, 0.001), bounds=([0, 0], [10, 10]), xtol=1e-13, ftol=1e-13)
    theirs = sum((value - law(number, *best)) ** 2 for number, value in points)
    assert sum(one * one for one in fit(points).residuals) <= theirs * (1 + 1e-9)


def test_the_peak_is_where_more_processors_do_less():
    found = fit([(number, law(number, 0.05, 0.002)) for number in SIZES])
    assert found.peak == pytest.approx(21.8, abs=0.05)
    assert max(range(1, 60), key=found) == 22


def test_two_sizes_beside_one_are_too_few_to_fit():
    assert fit([(1, 1.0), (2, 1.9), (4, 3.5), (4, 3.6)]) is None


def one(drawings, name):
    """The chart of that name."""
    return next(drawing for drawing in drawings if drawing.name == name)


def test_scaling_shows_points_law_and_what_is_left_over():
    drawings = plots.drawings([], [night(C07=SPEED)])
    chart, left = one(drawings, "scaling"), one(drawings, "residuals")
    assert "contention" in chart.summary
    assert chart.svg.count('class="mark') == 2 * 3 + 2, "a mark for each point, and for each name"
    fitted, over = (float(chart.rows[0][place]) for place in (4, 5))
    assert float(chart.rows[0][2]) - fitted == pytest.approx(over, abs=0.002)
    assert [row[1] for row in left.rows] == ["2", "4", "8"] * 2


def test_speed_ups_of_too_few_sizes_are_shown_without_a_law():
    (chart,) = plots.drawings([], [night(C07=SPEED[:1])])
    assert "too few sizes to fit" in chart.summary
    assert chart.rows[0][4:] == ("", "")


def test_a_clocks_band_is_as_wide_as_its_readings_are_uncertain():
    chart = one(plots.drawings([], [night(number, T06=OFFSETS) for number in range(12)]), "clock-offset")
    band = re.search(r'class="band c\d" d="M([^"]+)Z"', chart.svg)[1]
    heights = {float(pair.split()[1]) for pair in band.split("L")}
    ticks = linear("", [2.5])
    assert len(heights) == 2
    assert (max(heights) - min(heights)) / (340 - 12 - 46) == pytest.approx(ticks.at(2.5) - ticks.at(1.5), abs=0.001)
    assert len(chart.rows) == 20, "of each pool the newest ten"
    assert chart.rows[-1] == ("kvm", "r11", "2026-01-12 00:00", "2.000", "0.50")


def test_hosts_far_apart_share_a_logarithmic_axis():
    far = [((), [Figure("clock_offset", value, "s")]) for value in (0.5,)]
    near = night(1, T06=OFFSETS)
    chart = one(plots.drawings([], [night(0, T06=far), near]), "clock-offset")
    assert ">10<" in chart.svg
    assert ">1000<" in chart.svg


def test_the_phases_of_a_boot_and_what_they_do_not_explain_are_the_whole():
    chart = one(plots.drawings([], [night(L02=BOOT)]), "boot")
    assert chart.head == (
        "pool",
        "kernel (s)",
        "userspace (s)",
        "before and after (s)",
        "whole (s)",
        "median of runs (s)",
    )
    assert chart.rows[0] == ("esxi8 (twin)", "8.00", "17.0", "5.00", "30.0", "30.0 of 1")
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', chart.svg)]
    assert widths[0] / sum(widths[:3]) == pytest.approx(8 / 30, abs=0.001)


@pytest.fixture
def answers(tmp_path):
    """A run with a thousand answers from one host, and too few from another."""
    results = run(tmp_path)
    taken = {"name": "answer_p50", "value": 0.0005, "samples": [number / 1e6 for number in range(1, 1001)]}
    result(results, "N14 latency", "kvm", measured=[taken])
    result(results, "N14 latency", "esxi8", measured=[taken | {"samples": [0.1] * 5}])
    return cells.read(results)


def test_latencies_are_told_by_percentile_as_far_as_samples_reach(answers):
    (chart,) = plots.drawings([answers], [history.of(answers)])
    assert chart.rows == (("kvm", "1000", "500", "900", "990", "999", "1000"),)
    assert chart.head[2] == "50 % (µs)"


def test_a_percentile_is_a_value_that_was_seen():
    assert [percentile([1, 2, 3, 4], percent) for percent in (0, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 4, 4]


def test_charts_are_the_same_bytes_for_the_same_numbers(answers):
    nights = [night(0, C07=SPEED, T06=OFFSETS, L02=BOOT), history.of(answers)]
    first, second = (page.render(plots.drawings([answers], nights), title="x") for _ in range(2))
    assert first == second
    assert plots.drawings([answers], nights) != plots.drawings([answers], [replace(nights[0], run="other"), nights[1]])


def test_a_chart_speaks_to_those_who_do_not_see_it(answers):
    (chart,) = plots.drawings([answers], [history.of(answers)])
    assert f"<title id={chart.name}-title>{chart.title}</title>" in chart.svg
    assert f"<desc id={chart.name}-desc>kvm: half within 500 µs" in chart.svg
    assert f'aria-labelledby="{chart.name}-title {chart.name}-desc"' in chart.svg


def test_the_page_of_figures_asks_nobody_anything(answers):
    html = page.render(
        plots.drawings([answers], [history.of(answers)]), title="<img src=//x.test>", results="index.html"
    )
    assert outside_requests(html) == []
    assert "<img" not in html


def test_a_pool_has_the_same_colour_in_every_chart(answers):
    drawings = plots.drawings([answers], [night(0, C07=SPEED), history.of(answers)])
    esxi, kvm = 0, 1
    assert f'class="line c{kvm}"' in one(drawings, "latency-n14-latency-answer").svg
    assert f'class="line c{esxi}"' in one(drawings, "scaling").svg


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (linear("", [0.7, 7.3]), ["0", "2", "4", "6", "8"]),
        (linear("", [-0.2, 0.2], zero=False), ["-0.2", "-0.1", "0.0", "0.1", "0.2"]),
        (logarithmic("", [0.02, 30]), ["0.01", "0.1", "1", "10", "100"]),
        (
            times("", [0, 86400 * 10]),
            ["1970-01-01", "1970-01-03", "1970-01-05", "1970-01-07", "1970-01-09", "1970-01-11"],
        ),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert [words for _, words in axis.ticks] == ticks
