"""A measurement is a finite number with a name."""

import json

import pytest

from harness.core import UsageError
from harness.measure import Better, Measurement


def test_it_survives_json_with_its_raw_samples():
    one = Measurement("offset", 0.012, "s", Better.LOWER, (0.011, 0.013))
    assert json.loads(json.dumps(one.plain())) == {
        "name": "offset", "value": 0.012, "unit": "s", "better": "lower", "samples": [0.011, 0.013],
    }  # fmt: skip


@pytest.mark.parametrize(("value", "samples"), [(float("nan"), ()), (1.0, (float("inf"),))])
def test_what_is_no_number_is_no_measurement(value, samples):
    with pytest.raises(UsageError, match="not a finite number"):
        Measurement("offset", value, samples=samples)
