"""Field types of lab files: address and MAC ranges, names, each with its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from harness.backends.registry import LONGEST_NAME

_NAME = rf"^[a-z][a-z0-9_.-]{{0,{LONGEST_NAME - 1}}}$"
NAME_RULE = f"lower-case letters, digits, _ . -, beginning with a letter, at most {LONGEST_NAME} in all"
"""What makes a :data:`Name`, in words."""


def _name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(_NAME, value):
        raise ValueError(f"{value!r} is not a name: {NAME_RULE}")
    return value


def is_name(text: str) -> bool:
    """Whether ``text`` can be a :data:`Name`."""
    return re.fullmatch(_NAME, text) is not None


Name = Annotated[str, BeforeValidator(_name), StringConstraints(pattern=_NAME)]
"""A name: lower-case letters, digits, ``_ . -``, beginning with a letter; fit for a pytest marker."""


def _address(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("an address is written as 192.0.2.1")  # noqa: TRY004 - pydantic wants a ValueError
    try:
        IPv4Address(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not an address: {error}") from error
    return value


Address = Annotated[IPv4Address, BeforeValidator(_address)]
"""An IPv4 address."""


def _network(value: Any) -> Any:
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("a subnet is written as 192.0.2.0/24")
    try:
        IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not a subnet: {error}") from error
    return value


Subnet = Annotated[IPv4Network, BeforeValidator(_network)]
"""An IPv4 network in CIDR form."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """IPv4 addresses from ``first`` to ``last``, both included."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read ``192.0.2.10-192.0.2.99`` or one address.

        Raises:
            ValueError: not a range, or one that runs backwards.
        """
        found = re.fullmatch(r"\s*([0-9.]+)\s*(?:-\s*([0-9.]+)\s*)?", text) if isinstance(text, str) else None
        if not found:
            raise ValueError("an address range is written as 192.0.2.10-192.0.2.99")
        try:
            first, last = IPv4Address(found[1]), IPv4Address(found[2] or found[1])
        except ValueError as error:
            raise ValueError(f"{text!r} is not an address range: {error}") from error
        if last < first:
            raise ValueError(f"{text!r} runs backwards")
        return cls(first, last)

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __iter__(self) -> Iterator[IPv4Address]:
        return (self.first + offset for offset in range(len(self)))

    def __getitem__(self, index: int) -> IPv4Address:
        return self.first + range(len(self))[index]

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address) and self.first <= address <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read from text, written back as such."""
        return _from_text(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Two dotted quads."""
        quad = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
        return {"type": "string", "pattern": rf"^\s*{quad}\s*(-\s*{quad}\s*)?$", "title": "address range"}


_VMWARE = range(0x005056000000, 0x005056400000)


@dataclass(frozen=True, slots=True)
class MacRange:
    """MAC addresses as numbers from ``first`` to ``last``, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read a prefix (``52:54:00:77``) or a range (``52:54:00:77:00:00-52:54:00:77:00:ff``).

        Raises:
            ValueError: not MAC addresses, multicast ones, or a manufacturer's instead of locally administered ones
                (IEEE 802, bit 0x02 of the first byte). VMware's range for chosen addresses, 00:50:56:00:00:00 to
                00:50:56:3f:ff:ff, is allowed too, since ESXi accepts no other.
        """
        if not isinstance(text, str):
            raise ValueError("MAC addresses are written as a prefix 52:54:00:77 or a range of two full addresses")  # noqa: TRY004
        low, dash, high = (part.strip().lower().replace("-", ":") for part in text.partition("-"))
        if not dash:
            if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,5}", low):
                raise ValueError(f"{text!r} is not a MAC prefix such as 52:54:00:77")
            digits = low.replace(":", "")
            first, last = int(digits.ljust(12, "0"), 16), int(digits.ljust(12, "f"), 16)
        else:
            whole = r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"
            if not (re.fullmatch(whole, low) and re.fullmatch(whole, high)):
                raise ValueError(f"{text!r} is not a range such as 52:54:00:77:00:00-52:54:00:77:00:ff")
            first, last = (int(part.replace(":", ""), 16) for part in (low, high))
        if last < first:
            raise ValueError(f"{text!r} runs backwards")
        for edge in (first, last):
            if edge >> 40 & 0x01:
                raise ValueError(f"{text!r} holds multicast addresses; the first byte must be even")
        if not (first >> 40 & 0x02 and first >> 40 == last >> 40) and not (first in _VMWARE and last in _VMWARE):
            raise ValueError(
                f"{text!r} belongs to a manufacturer; use locally administered addresses, for example 52:54:00:77"
            )
        return cls(first, last)

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __getitem__(self, index: int) -> str:
        digits = f"{range(self.first, self.last + 1)[index]:012x}"
        return ":".join(digits[at : at + 2] for at in range(0, 12, 2))

    def __contains__(self, mac: object) -> bool:
        return isinstance(mac, str) and self.first <= int(mac.replace(":", ""), 16) <= self.last

    def __str__(self) -> str:
        return f"{self[0]}-{self[-1]}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read from text, written back as such."""
        return _from_text(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A prefix, or two full addresses."""
        byte = "[0-9a-fA-F]{2}"
        whole = rf"{byte}(:{byte}){{5}}"
        return {
            "type": "string",
            "pattern": rf"^\s*({byte}(:{byte}){{0,5}}|{whole}\s*-\s*{whole})\s*$",
            "title": "MAC range",
        }


def _from_text(cls: type[AddressRange | MacRange]) -> CoreSchema:
    def read(value: Any) -> Any:
        return value if isinstance(value, cls) else cls.parse(value)

    return core_schema.no_info_plain_validator_function(read, serialization=core_schema.to_string_ser_schema())
