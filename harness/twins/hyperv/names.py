"""The names that WS-Man messages are made of (DSP0226, MS-WSMV): namespaces, actions, resources, signals."""

from __future__ import annotations

from typing import Final

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
TRANSFER: Final = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
WSMV: Final = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
SHELL: Final = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
FAULT: Final = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
IDENTITY: Final = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
XML: Final = "http://www.w3.org/XML/1998/namespace"

PREFIXES: Final = {"s": SOAP, "a": ADDRESSING, "w": WSMAN, "x": TRANSFER, "rsp": SHELL, "p": WSMV}
"""The prefixes that Windows uses in its answers."""

CMD: Final = f"{SHELL}/cmd"
"""The resource of the text shell; its plain parent is what one Gets."""

ACTIONS: Final = {
    f"{TRANSFER}/Create": "Create",
    f"{TRANSFER}/Get": "Get",
    f"{TRANSFER}/Delete": "Delete",
    f"{SHELL}/Command": "Command",
    f"{SHELL}/Send": "Send",
    f"{SHELL}/Receive": "Receive",
    f"{SHELL}/Signal": "Signal",
}
"""What is answered here; Identify has no action."""

ANONYMOUS: Final = f"{ADDRESSING}/role/anonymous"
FAULT_ACTION: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"

RUNNING: Final = f"{SHELL}/CommandState/Running"
DONE: Final = f"{SHELL}/CommandState/Done"

TERMINATE: Final = frozenset({f"{SHELL}/signal/terminate", f"{SHELL}/signal/Terminate"})
INTERRUPT: Final = frozenset(f"{SHELL}/signal/{name}" for name in ("ctrl_c", "ctrl_break", "Ctrl_C", "Ctrl_Break"))
