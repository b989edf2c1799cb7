"""Names, addresses and accounts taken out of text."""

import base64

import pytest

from harness.validation.hiding import ACCOUNT, HOST, Pseudonyms, text_of


def hide(text, *names):
    """``text`` without these hosts, and without the addresses it shows itself."""
    known = Pseudonyms()
    for name in names:
        known.name(name, HOST)
    known.learn(text)
    return known.hide(text)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("at 192.0.2.7:22", "at ipv4-1:22"),
        ("192.0.2.7, 192.0.2.77 and 192.0.2.7.", "ipv4-1, ipv4-2 and ipv4-1."),
        ("ip-192-0-2-7 is 192.0.2.7", "ip-ipv4-1 is ipv4-1"),
        ("fe80::5054:ff:fe12:3456%eth0", "ipv6-1%eth0"),
        ("[2001:db8::1]:443, 2001:0db8:0:0:0:0:0:1", "[ipv6-1]:443, ipv6-1"),
        ("host 2001:db8::1: unreachable", "host ipv6-1: unreachable"),
        ("::ffff:192.0.2.7", "ipv6-1"),
        ("link/ether 52:54:00:12:34:56", "link/ether mac-1"),
        ("52-54-00-12-34-56, 5254.0012.3456, 525400123456", "mac-1, mac-1, mac-1"),
        ("/home/alice/lab and alice", "/home/account-1/lab and account-1"),
        (r"C:\Users\alice\x", r"C:\Users\account-1\x"),
    ],
)
def test_what_tells_a_place_goes(text, hidden):
    assert hide(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1 ::1 0.0.0.0 255.255.255.0 255.255.255.255",
        "tests/test_a.py::test_b std::string cafe::add_one",
        "12:34:56 2026-03-01T12:34:56 0000:00:02.0",
        "1:7.2+dfsg-7 6.1.0-56-amd64 10.0.20348 8.0.2.21997540 12.2.0.41219",
        "/home/root",
    ],
)
def test_what_tells_none_stays(text):
    assert hide(text) == text


def test_a_name_goes_in_every_spelling():
    encoded = base64.b64encode(b"esx-berlin").decode()
    text = f"ESX-Berlin test[esx-berlin] vmk-esx-berlin.log {encoded} esx-berlin.acme.example"
    shown = hide(text, "esx-berlin", "esx-berlin.acme.example")
    assert shown.startswith("host-1 test[host-1] vmk-host-1.log host-1")
    assert shown.endswith(" host-2")


def test_hosts_stay_distinguishable():
    assert hide("a1 b1 a1", "a1", "b1") == "host-1 host-2 host-1"


def test_a_short_name_goes_where_it_stands_alone():
    assert hide("h1 sha1 h12 [h1]", "h1") == "host-1 sha1 h12 [host-1]"


def test_words_of_the_trade_name_nobody():
    """A host that is called `kvm` is not told apart from the kind of hypervisor."""
    known = Pseudonyms()
    known.name("kvm", HOST)
    known.name("root", ACCOUNT)
    known.name("vm", HOST)
    assert known.hide("kvm root package open-vm-tools") == "kvm root package open-vm-tools"


@pytest.mark.parametrize("row", [":", "a:", "1.", "a", "/home/", "52:54:"])
def test_endless_rows_take_no_longer_than_their_length(row):
    """A guest writes what is searched; with a pattern that backtracks this test would not end."""
    text = row * 100_000 + "Z"
    assert hide(text) == text


def test_pictures_cannot_be_looked_into():
    assert text_of(b"\x89PNG\r\n\x1a\n\x00") is None
    assert text_of(b"\xff\xfe") is None
    assert text_of("ä".encode()) == "ä"
