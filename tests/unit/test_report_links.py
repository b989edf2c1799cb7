"""The line that repeats a check can be pasted into a shell."""

import shlex

from harness.report.links import repeat_command


def test_everything_that_decided_the_outcome_is_in_the_line():
    line = repeat_command(
        "suites/vcpu/test_smp.py::test_online[kvm-4]", lab="my lab.yaml", host="kvm-2", image="ab12", seed=7
    )
    assert shlex.split(line) == [
        *("pytest", "suites/vcpu/test_smp.py::test_online[kvm-4]", "--lab", "my lab.yaml"),
        *("--host", "kvm-2", "--image", "ab12", "--seed", "7"),
    ]


def test_what_is_not_known_is_left_out_and_a_seed_of_zero_is_known():
    assert repeat_command("t.py::t", seed=0) == "pytest t.py::t --seed 0"
