"""What a backend's source can ask of its host that makes, changes or deletes something: read from the source itself.

So that no call is added to a backend which the seams do not count and the victim does not make.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.end_to_end.kills.seams import CMDLET_READS, LIBVIRT, SOAP_READS
from tests.end_to_end.kills.world import CHECKOUT

_MAKES = re.compile(
    r"(create|define|undefine|destroy|attach|detach|update|managedSave|save|restore|snapshotCreate|revert|delete|upload"
    r"|clone|migrate|blockCopy|blockCommit|blockPull|checkpointCreate|backupBegin|setMetadata)\w*"
)
"""libvirt's methods that make, change or delete things; each that a backend calls must be one that is counted."""
_METHOD = re.compile(r"[A-Z][A-Za-z]+(_Task|Complete|Abort)|(Create|Make|Import|Delete|Destroy|Move|Copy)[A-Z]\w*")


def calls(column: str) -> set[str]:
    """By the names that the seams give them."""
    found = {"kvm": _kvm, "vsphere": _vsphere, "hyperv": _hyperv}[column]
    return {
        name for path in (CHECKOUT / "harness" / "backends" / column).glob("*.py") for name in found(path.read_text())
    }


def uncounted() -> set[str]:
    """Methods of libvirt's that the backend calls, that make something by their name, and that no seam counts."""
    import libvirt

    kinds = [getattr(libvirt, kind) for kind in LIBVIRT]
    made = {name for kind in kinds for name in vars(kind) if _MAKES.fullmatch(name)}
    called: set[str] = set()
    for path in (CHECKOUT / "harness" / "backends" / "kvm").glob("*.py"):
        called |= {node.func.attr for node in ast.walk(ast.parse(path.read_text())) if _is_method(node)}
    return (called & made) - {name for names in LIBVIRT.values() for name in names}


def _is_method(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


def _kvm(text: str) -> Iterator[str]:
    counted = {name for names in LIBVIRT.values() for name in names}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in counted:
            yield f"libvirt {node.attr}"


def _vsphere(text: str) -> Iterator[str]:
    yield from (name for name in _texts(text) if _METHOD.fullmatch(name) and not SOAP_READS.fullmatch(name))


def _hyperv(text: str) -> Iterator[str]:
    """The cmdlets of steps."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Step" and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and not CMDLET_READS.fullmatch(str(name.value)):
                yield str(name.value)


def _texts(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
