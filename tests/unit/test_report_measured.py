"""Measurements read back, from wherever a run left them."""

from datetime import UTC, datetime

import pytest

from harness.measure import Better, Measurement, records
from harness.measure.records import Circumstances, Recorded
from harness.report import cells
from harness.report.measured import Measurements, Spread, summarised, uncertainty
from tests.unit.report_runs import result, run


def recorded(name: str, value: float) -> Recorded:
    """A measurement of L02 on kvm, as it is kept the moment it is taken."""
    return Recorded(
        Measurement(name, value, "s", Better.LOWER, (value,)),
        check="L02",
        part="",
        title="it boots",
        test="t",
        params=(),
        pool="kvm",
        host="kvm-1",
        backend="kvm",
        run="r1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        circumstances=Circumstances("kvm"),
        history="L02/kvm/()",
    )


def test_measurements_are_read_from_attachments_and_from_files_of_their_own(tmp_path):
    results = run(tmp_path)
    result(results, "L02", "kvm", measured=[{"name": "boot", "value": 30}, {"name": "boot_kernel", "value": 9}])
    records.keep(results, recorded("boot", 31.0))
    records.keep(results, recorded("boot_initrd", 2.0))
    (cell,) = cells.read(results).cells
    taken = Measurements(results).figures(cell)
    assert [(one.name, one.value) for one in taken] == [("boot", 31.0), ("boot_initrd", 2.0), ("boot_kernel", 9.0)]


def test_a_damaged_measurement_is_missing_alone(tmp_path):
    results = run(tmp_path)
    uuid = result(results, "L02", "kvm", measured=[{"name": "boot", "value": 30}, {"name": "boot_kernel", "value": 9}])
    (results / f"{uuid}-0-attachment.json").write_text('{"name": "boot", "val')
    (results / "measurements").mkdir()
    (results / "measurements" / "1.json").write_text("{")
    measurements = Measurements(results)
    assert [one.name for one in measurements.figures(cells.read(results).cells[0])] == ["boot_kernel"]
    assert len(measurements.damaged) == 1


def test_a_stated_uncertainty_belongs_to_its_measurement():
    taken = [Measurement("clock_offset", 0.5, "s"), Measurement("clock_offset_uncertainty", 0.01, "s")]
    assert [(one.name, one.uncertainty) for one in summarised(taken)] == [("clock_offset", 0.01)]


def test_an_uncertainty_of_nothing_is_a_measurement_of_its_own():
    assert [one.name for one in summarised([Measurement("x_uncertainty", 1.0)])] == ["x_uncertainty"]


@pytest.mark.parametrize(("count", "ranks"), [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (25, (8, 18))])
def test_a_medians_interval_lies_between_the_ranks_that_tables_give(count, ranks):
    """W. J. Conover, Practical Nonparametric Statistics, 3rd edition, 1999, table A3: quantile 1/2, 95 %."""
    samples = [float(number**2) for number in range(1, count + 1)]
    middle = (samples[(count - 1) // 2] + samples[count // 2]) / 2
    assert uncertainty(middle, samples[::-1]) == (ranks[1] ** 2 - ranks[0] ** 2) / 2


def test_too_few_samples_or_another_figure_than_their_median_tell_no_uncertainty():
    assert uncertainty(3.0, [1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert uncertainty(9.0, [float(number) for number in range(10)]) is None


def test_samples_are_kept_as_five_numbers():
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(5, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert Spread.of([1.0]) is None
