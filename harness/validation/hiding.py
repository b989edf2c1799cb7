"""Taking names, addresses and accounts out of evidence: each original gets a name of its own, the same everywhere.

What is known from the lab (its hosts, their addresses and accounts) is replaced wherever it stands, in any spelling a
protocol or a log gives it; addresses of networks and hardware are found by their form. Pictures and packed files cannot
be looked into, so they are left out.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote
from xml.sax.saxutils import escape

HOST, ACCOUNT, FOLDER, IPV4, IPV6, MAC = "host", "account", "folder", "ipv4", "ipv6", "mac"
_NAMES = (HOST, ACCOUNT, FOLDER)

# Words that name nobody: kinds of hosts, of acceleration and of products; everybody's accounts and names.
GENERIC = frozenset(
    {"kvm", "hyperv", "vsphere", "tcg", "hvf", "vmware", "qemu", "libvirt", "esxi", "vcenter", "localhost", "local"}
    | {"root", "linux", "host", "hosts", "user", "users", "system", "session", "twin", "lab", "guest", "pool", "http"}
    | {"https", "wsman", "sdk", "nobody", "none", "true", "false", "null", "main", "baseline", "candidate"}
    # A controller may be called so, and so are the packages that a statement is about.
    | {"vm", "vms", "tools", "agent", "open", "daemons", "package", "service", "module", "kernel", "debian", "server"}
)

# Shorter names stand inside ordinary words, so they are replaced only where they stand alone.
_ANYWHERE = 4

_V4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)")
_MAC = re.compile(
    r"(?<![0-9A-Fa-f:-])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])"
    r"|(?<![0-9A-Fa-f.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![0-9A-Fa-f.])"
)
# Bounded, for guests write what is searched: an endless row of colons must not take for ever.
_V6 = re.compile(r"(?<![0-9A-Za-z_:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{0,45}:[0-9A-Fa-f:.]{0,45}(?![0-9A-Za-z_])")
# Other spellings of what was found elsewhere: an address in a name, a MAC without its colons.
_V4_IN_NAME = re.compile(r"(?<!\d)(?<!\d-)\d{1,3}(?:-\d{1,3}){3}(?!-?\d)")
_MAC_BARE = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
_HOME = re.compile(r"(?:/home/|/Users/|\\Users\\|\\\\Users\\\\)([A-Za-z0-9._-]+)")


@dataclass(slots=True)
class Pseudonyms:
    """Originals and what stands for them.

    First everything is shown to :meth:`learn`, then :meth:`hide` takes out what was learnt: an address that one file
    spells with colons may stand in another without.

    Args:
        known: by original, in lower case, its pseudonym.
    """

    known: dict[str, str] = field(default_factory=dict)
    _pattern: re.Pattern[str] | None = None
    _spelt: dict[str, str] = field(default_factory=dict)

    def name(self, original: str, kind: str) -> None:
        """Take ``original`` out from now on.

        Args:
            original: a host's name, an account, a folder, an address.
            kind: how its pseudonym begins.
        """
        word = original.strip().lower()
        if len(word) < 2 or word in GENERIC or word in self.known or (word.isdigit() and kind != MAC):
            return
        if kind in (IPV4, IPV6) and not _tells(word):
            return
        number = 1 + sum(other.rpartition("-")[0] == kind for other in self.known.values())
        self.known[word] = f"{kind}-{number}"
        self._pattern = None

    def learn(self, text: str) -> None:
        """Find addresses and accounts by their form."""
        for found in _MAC.finditer(text):
            self.name(_plain_mac(found[0]), MAC)
        for found in _V4.finditer(text):
            self.name(found[0], IPV4)
        for found in _V6.finditer(text):
            if address := _v6(found[0]):
                self.name(address, IPV6)
        for found in _HOME.finditer(text):
            self.name(found[1], ACCOUNT)

    def hide(self, text: str) -> str:
        """``text`` with everything that was learnt taken out."""
        if self._pattern is None:
            self._compile()
        # Addresses by form: one has many spellings, and there are too many of them for a pattern of each.
        text = _V6.sub(self._hide_v6, text)
        for form in (_MAC, _MAC_BARE):
            text = form.sub(lambda found: self.known.get(_plain_mac(found[0]), found[0]), text)
        for form in (_V4, _V4_IN_NAME):
            text = form.sub(lambda found: self.known.get(found[0].replace("-", "."), found[0]), text)
        pattern = self._pattern
        return text if pattern is None else pattern.sub(lambda found: self._spelt[found[0].lower()], text)

    def originals(self) -> list[str]:
        """Everything that is taken out, in lower case."""
        return sorted(self.known)

    def _hide_v6(self, found: re.Match[str]) -> str:
        address = _v6(found[0])
        name = self.known.get(address or "")
        return name + found[0][len(found[0].rstrip(":.")) :] if name else found[0]

    def _compile(self) -> None:
        names = {original: name for original, name in self.known.items() if name.rpartition("-")[0] in _NAMES}
        self._spelt = {spelling.lower(): name for original, name in names.items() for spelling in _spellings(original)}
        longest_first = sorted(map(_guarded, self._spelt), key=len, reverse=True)
        self._pattern = re.compile("|".join(longest_first), re.IGNORECASE) if longest_first else None


def text_of(data: bytes) -> str | None:
    """Bytes as text; None for pictures and whatever else cannot be looked into."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _guarded(spelling: str) -> str:
    pattern = re.escape(spelling)
    return rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])" if len(spelling) < _ANYWHERE else pattern


def _spellings(original: str) -> set[str]:
    forms = {
        original,
        json.dumps(original)[1:-1],
        json.dumps(original, ensure_ascii=False)[1:-1],
        escape(original, {'"': "&quot;", "'": "&apos;"}),
        quote(original, safe=""),
    }
    if len(original) >= _ANYWHERE:
        forms |= {
            base64.b64encode(original.encode()).decode().rstrip("="),
            base64.b64encode(original.encode("utf-16-le")).decode().rstrip("="),
        }
    return forms


def _tells(address: str) -> bool:
    """Whether an address says anything about a place: loopback, nothing at all and netmasks do not."""
    try:
        found = IPv6Address(address) if ":" in address else IPv4Address(address)
    except AddressValueError:
        return False
    if isinstance(found, IPv4Address):
        zeros = ~int(found) & 0xFFFFFFFF
        mask = zeros & (zeros + 1) == 0  # ones, then zeros
        return not (found.is_loopback or mask)
    return not (found.is_loopback or found.is_unspecified)


def _v6(text: str) -> str | None:
    """The address that a text begins with, in its shortest form; without the colon or point that ends a sentence."""
    shortened = text.rstrip(".")
    for candidate in (shortened, shortened.rstrip(":")):
        try:
            return str(IPv6Address(candidate))
        except AddressValueError:
            continue
    return None


def _plain_mac(text: str) -> str:
    return re.sub(r"[^0-9A-Fa-f]", "", text).lower()
