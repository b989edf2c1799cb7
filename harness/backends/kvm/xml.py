"""Reading and building libvirt's XML as element trees; nothing is ever pasted together as strings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

from lxml import etree

from harness.backends import codec
from harness.backends.model import MachineSpec, NicSpec, Ownership

Element: TypeAlias = etree._Element  # noqa: SLF001 - lxml gives its element type no public name

NAMESPACE = "urn:interop-harness:machine:1"
NICS_NAMESPACE = "urn:interop-harness:nics:1"
_MARK = f"{{{NAMESPACE}}}machine"
_NICS = f"{{{NICS_NAMESPACE}}}nics"


def node(tag: str, content: object = None, *children: Element | None, **attributes: object) -> Element:
    """An element with text, children (None ones are left out) and attributes (None ones are left out)."""
    element = etree.Element(tag, nsmap={"interop": etree.QName(tag).namespace} if tag in {_MARK, _NICS} else None)
    for name, value in attributes.items():
        if value is not None:
            element.set(name.rstrip("_"), str(value))
    if content is not None:
        element.text = str(content)
    element.extend(child for child in children if child is not None)
    return element


def parse(text: str) -> Element:
    """The root of a document that came from a host: no entities, no network."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=True)
    root: Element = etree.fromstring(text.encode(), parser)
    return root


def text(element: Element) -> str:
    """An element as text for libvirt."""
    return etree.tostring(element, encoding="unicode", pretty_print=True)


def number(element: Element, path: str, default: int = 0) -> int:
    """The integer at ``path``, or the default."""
    found = element.findtext(path)
    return int(found) if found else default


def attribute(element: Element, path: str, name: str, default: str = "") -> str:
    """An attribute of the first element at ``path``, or the default."""
    found = element.find(path)
    return default if found is None else str(found.get(name, default))


def change(element: Element, path: str, content: str, **attributes: str) -> None:
    """Give the element at ``path``, which must be there, other text and attributes."""
    found = element.find(path)
    if found is None:
        raise LookupError(f"<{element.tag}> has no {path}")
    found.text = content
    for name, value in attributes.items():
        found.set(name, value)


def drop(element: Element, path: str) -> None:
    """Take away every element at ``path``."""
    for found in element.findall(path):
        parent = found.getparent()
        if parent is not None:
            parent.remove(found)


def mark(spec: MachineSpec) -> Element:
    """The metadata element that makes a domain ours: who owns it, and everything that was asked."""
    owner = spec.owner
    return node(_MARK, codec.dumps(spec), run=owner.run, token=owner.token, expiry=owner.expiry.isoformat())


def nics_mark(nics: Iterable[NicSpec]) -> Element:
    """The metadata element that keeps what was asked of NICs that came later."""
    return node(_NICS, codec.dumps(tuple(nics)))


def later_nics(domain: Element) -> tuple[NicSpec, ...]:
    """NICs that came after the machine was made."""
    found = domain.findtext(f"metadata/{_NICS}")
    return codec.loads(tuple[NicSpec, ...], found) if found else ()


def owner_of(domain: Element) -> Ownership | None:
    """Who a domain belongs to; None for a domain that is not ours."""
    found = domain.find(f"metadata/{_MARK}")
    try:
        return None if found is None else codec.loads(Ownership, json.dumps(dict(found.attrib)))
    except ValueError:  # whoever wrote that was not us
        return None


def spec_of(domain: Element) -> MachineSpec | None:
    """What was asked when a domain was made; None for a domain that is not ours."""
    found = domain.find(f"metadata/{_MARK}")
    return None if found is None or not found.text else codec.loads(MachineSpec, found.text)
