"""What guests' services say of file systems that they froze: the forms in which it lies in the guest."""

import pytest

from harness.core import UsageError
from harness.guest.freezes import freeze_log, parse_hooked, parse_vss

# Of hv_vss_daemon 6.1 (tools/hv/hv_vss_daemon.c): its first words, a checkpoint, and one that failed.
VSS = b"""Hyper-V VSS daemon started
VSS: starting; pid is:412
VSS: kernel module version: 129
VSS: op=CHECK HOT BACKUP
VSS: op=FREEZE: succeeded
VSS: op=THAW: succeeded
FREEZE of /data failed; error:16 Device or resource busy
VSS: op=FREEZE: failed
op=131 failed!
"""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, ()),
        (b"", ()),
        (b"freeze\nthaw\n", ("freeze", "thaw")),
        (b"freeze\nfreezeFail\n", ("freeze", "freezeFail")),
    ],
)
def test_a_hook_is_told_in_the_order_of_its_calls(data: bytes | None, told: tuple[str, ...]) -> None:
    assert parse_hooked(data) == told


@pytest.mark.parametrize("data", [b"melt", b"freeze thaw rm", b"freezer"])
def test_a_hook_that_is_called_otherwise_is_no_answer(data: bytes) -> None:
    with pytest.raises(ValueError, match="was called with"):
        parse_hooked(data)


def test_hyperv_s_daemon_tells_each_operation_in_a_line() -> None:
    assert parse_vss(VSS) == ("freeze", "thaw", "freezeFail")
    assert parse_vss(b"VSS: starting; pid is:412\n") == ()


def test_a_log_of_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'diary' is no kind of freeze log"):
        freeze_log(object(), "diary /root")  # type: ignore[arg-type]
