"""Values that host and guest leave for each other: the forms in which they lie in the guest."""

import pytest

from harness.core import UsageError
from harness.guest.mailbox import mailbox, parse_guestinfo, parse_pool, pool

# Two records, as hv_kvp_daemon writes them.
POOL = b"".join(
    text.ljust(size, b"\0")
    for text, size in ((b"interop.a", 512), (b"one", 2048), (b"interop.b", 512), ("größer 値".encode(), 2048))
)


def test_a_pool_is_a_file_of_records() -> None:
    assert parse_pool(POOL) == {"interop.a": "one", "interop.b": "größer 値"}
    assert parse_pool(b"") == {}


def test_a_pool_is_written_as_the_daemon_writes_it() -> None:
    assert pool({"interop.a": "one", "interop.b": "größer 値"}) == POOL


def test_half_a_record_is_no_pool() -> None:
    with pytest.raises(ValueError, match="4 bytes are no whole records of 2560"):
        parse_pool(b"half")


@pytest.mark.parametrize("values", [{"k" * 512: "v"}, {"k": "v" * 2048}, {"k": "ä" * 1024}])
def test_what_does_not_fit_into_a_record_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="fit"):
        pool(values)


@pytest.mark.parametrize(
    ("data", "values"),
    [(None, {}), (b"", {}), (b"{}", {}), ('{"guestinfo.a": "größer"}'.encode(), {"guestinfo.a": "größer"})],
)
def test_guestinfo_is_an_object_of_texts(data: bytes | None, values: dict[str, str]) -> None:
    assert parse_guestinfo(data) == values


@pytest.mark.parametrize("data", [b"[]", b'{"a": 1}', b"{"])
def test_anything_else_is_no_guestinfo(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_guestinfo(data)


def test_a_mailbox_of_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'pigeons' is no kind of mailbox"):
        mailbox(object(), "pigeons /roof")  # type: ignore[arg-type]
