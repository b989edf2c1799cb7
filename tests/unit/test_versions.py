"""Versions in dpkg's order; dpkg itself is asked, where it is there."""

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from harness.core.versions import Version, VersionRange, compare, within

# In ascending order: examples of Debian Policy 5.6.12, and versions as guests told them.
ASCENDING = [
    ["~~", "~~a", "~", "0", "a"],
    ["1.0~rc1", "1.0", "1.0+deb12u1", "1.0.1", "1.10"],
    ["6.1.192-1", "6.1.192-2", "6.1.192-10"],
    ["12.5.0-1", "2:12.2.0-1+deb12u3", "2:12.2.0-1+deb12u4", "2:12.2.0-1+deb12u10"],
    ["1:7.2+dfsg-7+deb12u18", "1:7.2+dfsg-7+deb12u18+b3", "1:7.10~rc0-1"],
    ["5.14.0-427.9.1.el9_4", "5.14.0-427.13.1.el9_4", "5.14.0-503.11.1.el9_5"],
]


@pytest.mark.parametrize("versions", ASCENDING)
def test_versions_sort_as_debian_policy_says(versions):
    for older, newer in itertools.pairwise(versions):
        assert compare(older, newer) < 0 < compare(newer, older)


@pytest.mark.parametrize(("one", "other"), [("1.0", "0:1.0-0"), ("1.01", "1.1"), ("1.0a", "1.0a0")])
def test_versions_that_are_written_differently_may_be_equal(one, other):
    assert compare(one, other) == 0


WORDS = st.from_regex(r"[0-9][a-z0-9.+~]{0,6}", fullmatch=True)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not here to be asked")
@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.sampled_from(["", "0:", "2:"]), WORDS, st.sampled_from(["", "-0", "-1~a", "-1+b1"])),
    st.tuples(st.sampled_from(["", "0:", "2:"]), WORDS, st.sampled_from(["", "-0", "-1~a", "-1+b1"])),
)
def test_dpkg_agrees(one, other):
    one, other = "".join(one), "".join(other)
    ours = compare(one, other)
    sign = "lt" if ours < 0 else "gt" if ours > 0 else "eq"
    assert subprocess.run(["dpkg", "--compare-versions", one, sign, other], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seen", "wanted", "holds"),
    [
        ("2:12.2.0-1+deb12u4", "<12.3", True),
        ("2:12.2.0-1+deb12u4", "==12.2.0", True),
        ("2:12.2.0-1+deb12u4", "<2:12.2.0-1+deb12u10", True),
        ("2:12.2.0-1+deb12u4", "<1:13", False),
        ("2:12.2.0-1+deb12u4", ">=12, <12.2", False),
        ("17763.5329", ">=17763, <17764", True),
    ],
)
def test_what_a_bound_leaves_out_does_not_count(seen, wanted, holds):
    assert within(Version.parse(seen), wanted) is holds


@pytest.mark.parametrize(
    ("release", "wanted", "holds"),
    [
        ("6.1.0-18-amd64", "<=6.1.0-18", True),
        ("6.1.0-18-amd64", "<6.1.0-20", True),
        ("6.1.0-18-cloud-amd64", ">=6.1.0-20", False),
        ("6.12.0-rc3", "<6.12.0", True),
        ("6.12.117+deb13-amd64", ">=6.12.100, <6.13", True),
        ("5.14.0-427.13.1.el9_4.x86_64", "<5.14.0-427.20", True),
        ("5.15.0-1053-azure", "==5.15.0-1053", True),
    ],
)
def test_a_kernels_flavour_is_no_part_of_its_version(release, wanted, holds):
    assert within(Version.of_kernel(release), wanted) is holds


@pytest.mark.parametrize("text", ["8.0", ">8 <9", ">=", ">=v8", ""])
def test_what_is_no_range_is_refused_in_words(text):
    with pytest.raises(ValidationError, match="no bound of versions; write"):
        TypeAdapter(VersionRange).validate_python(text)
