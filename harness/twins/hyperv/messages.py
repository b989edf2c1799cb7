"""WS-Man envelopes: what a request says, and what answers and faults look like.

The shape of answers follows real exchanges (MS-WSMV; pywinrm and pypsrp are the readers). ``a:To`` of a request is not
looked at: pywinrm sends a constant there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from lxml import etree

from harness.twins.hyperv import durations, names
from harness.twins.hyperv.faults import WsmanError, fault

_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)

Element = etree._Element  # noqa: SLF001  lxml names its type nowhere else
Fill = Callable[[Element], None]
"""Puts an answer's content into its Body."""

DEFAULT_ENVELOPE: Final = 153600
"""Bytes of an answer where the request grants no other size."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was understood.

    Args:
        operation: ``Create``, ``Command`` ... or ``Identify``.
        action: the action's URI.
        message_id: what the answer relates to.
        resource: URI of the resource.
        selectors: by name.
        options: by name.
        operation_timeout: in seconds; None where the request grants none.
        max_envelope: the largest answer it takes, in bytes.
        content: the first element of the Body.
    """

    operation: str
    action: str
    message_id: str
    resource: str
    selectors: Mapping[str, str]
    options: Mapping[str, str]
    operation_timeout: float | None
    max_envelope: int
    content: Element | None = field(repr=False)

    def wanted(self, name: str) -> Element:
        """The Body's element, which must be the shell's ``name``.

        Raises:
            WsmanError: it is another, or there is none.
        """
        if self.content is None or self.content.tag != q(names.SHELL, name):
            raise fault("syntax", f"The Body holds no rsp:{name}.")
        return self.content


def q(namespace: str, name: str) -> str:
    """A qualified name as lxml writes it."""
    return f"{{{namespace}}}{name}"


def parse(body: bytes) -> Request:
    """Understand a request.

    Raises:
        WsmanError: it is not XML, no SOAP, or asks for what is not here; see :func:`message_id` for whom to answer.
    """
    root = _root(body)
    inner = root.find(q(names.SOAP, "Body"))
    content = next(inner.iterchildren("*"), None) if inner is not None else None
    if content is not None and content.tag == q(names.IDENTITY, "Identify"):
        return Request("Identify", "", "", "", {}, {}, None, DEFAULT_ENVELOPE, content)
    header = root.find(q(names.SOAP, "Header"))
    if header is None:
        raise fault("syntax", "The envelope has no Header.")
    action = _text(header, names.ADDRESSING, "Action")
    operation = names.ACTIONS.get(action)
    if operation is None:
        raise fault("action", f"{action or 'An empty action'} is not supported.")
    return Request(
        operation=operation,
        action=action,
        message_id=_text(header, names.ADDRESSING, "MessageID"),
        resource=_text(header, names.WSMAN, "ResourceURI"),
        selectors={_attribute(node, "Name"): node.text or "" for node in header.iter(q(names.WSMAN, "Selector"))},
        options={_attribute(node, "Name"): node.text or "" for node in header.iter(q(names.WSMAN, "Option"))},
        operation_timeout=_duration(_text(header, names.WSMAN, "OperationTimeout")),
        max_envelope=_number(_text(header, names.WSMAN, "MaxEnvelopeSize"), DEFAULT_ENVELOPE),
        content=content,
    )


def message_id(body: bytes) -> str:
    """Whom a fault answers: the request's MessageID, empty where even that cannot be read."""
    try:
        return _root(body).findtext(f"{q(names.SOAP, 'Header')}/{q(names.ADDRESSING, 'MessageID')}") or ""
    except WsmanError:
        return ""


def answer(request: Request, fill: Fill) -> bytes:
    """The answer to a request, its Body filled by ``fill``."""
    return _envelope(f"{request.action}Response", request.message_id, fill)


def identified(product: str) -> bytes:
    """The answer to Identify.

    Args:
        product: ``OS: 10.0.20348 SP: 0.0 Stack: 3.0``.
    """
    root = etree.Element(q(names.SOAP, "Envelope"), nsmap=cast("Any", {"s": names.SOAP}))
    root.set(q(names.XML, "lang"), "en-US")
    etree.SubElement(root, q(names.SOAP, "Header"))
    body = etree.SubElement(root, q(names.SOAP, "Body"))
    said = etree.SubElement(body, q(names.IDENTITY, "IdentifyResponse"), nsmap=cast("Any", {"wsmid": names.IDENTITY}))
    child(said, names.IDENTITY, "ProtocolVersion", names.WSMAN)
    child(said, names.IDENTITY, "ProductVendor", "Microsoft Corporation")
    child(said, names.IDENTITY, "ProductVersion", product)
    return _bytes(root)


def refusal(error: WsmanError, relates_to: str, machine: str) -> bytes:
    """The SOAP fault of an error.

    Args:
        error: what is refused, and why.
        relates_to: the request's MessageID.
        machine: the host's name.
    """

    def fill(body: Element) -> None:
        reason = error.reason
        top = child(body, names.SOAP, "Fault")
        code = child(top, names.SOAP, "Code")
        child(code, names.SOAP, "Value", "s:Sender" if reason.sender else "s:Receiver")
        child(child(code, names.SOAP, "Subcode"), names.SOAP, "Value", reason.subcode)
        text = child(child(top, names.SOAP, "Reason"), names.SOAP, "Text", reason.text)
        text.set(q(names.XML, "lang"), "en-US")
        detail = child(top, names.SOAP, "Detail")
        said = etree.SubElement(detail, q(names.FAULT, "WSManFault"), nsmap=cast("Any", {"f": names.FAULT}))
        said.set("Code", str(reason.code))
        said.set("Machine", machine)
        child(said, names.FAULT, "Message", error.detail)

    return _envelope(names.FAULT_ACTION, relates_to, fill)


def child(parent: Element, namespace: str, name: str, text: str | None = None, **attributes: str) -> Element:
    """A new element below ``parent``."""
    node = etree.SubElement(parent, q(namespace, name))
    for key, value in attributes.items():
        node.set(key, value)
    node.text = text
    return node


def _envelope(action: str, relates_to: str, fill: Fill) -> bytes:
    root = etree.Element(q(names.SOAP, "Envelope"), nsmap=cast("Any", names.PREFIXES))
    root.set(q(names.XML, "lang"), "en-US")
    header = child(root, names.SOAP, "Header")
    child(header, names.ADDRESSING, "Action", action)
    child(header, names.ADDRESSING, "MessageID", f"uuid:{uuid.uuid4()}".upper().replace("UUID:", "uuid:"))
    child(header, names.ADDRESSING, "To", names.ANONYMOUS)
    if relates_to:
        child(header, names.ADDRESSING, "RelatesTo", relates_to)
    fill(child(root, names.SOAP, "Body"))
    return _bytes(root)


def _bytes(root: Element) -> bytes:
    return etree.tostring(root, encoding="UTF-8", xml_declaration=False)


def _root(body: bytes) -> Element:
    try:
        root = etree.fromstring(body, _PARSER)
    except etree.XMLSyntaxError as error:
        raise fault("syntax", f"The request is not well-formed XML: {error.msg}") from None
    if root.tag != q(names.SOAP, "Envelope"):
        raise fault("syntax", "The request is no SOAP 1.2 envelope.")
    return root


def _text(header: Element, namespace: str, name: str) -> str:
    return (header.findtext(q(namespace, name)) or "").strip()


def _attribute(node: Element, name: str) -> str:
    return str(node.get(name) or "")


def _duration(text: str) -> float | None:
    if not text:
        return None
    try:
        return durations.seconds(text)
    except ValueError:
        raise fault("parameter", f"{text!r} is not a time-out.") from None


def _number(text: str, otherwise: int) -> int:
    if not text:
        return otherwise
    if not text.isdecimal():
        raise fault("parameter", f"{text!r} is not a size.")
    return int(text)
