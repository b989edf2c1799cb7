"""References to managed objects: a kind and an id, and nothing that could be read from afar by accident.

pyVmomi's own managed objects fetch a property over the network whenever an attribute is read, one round trip each, and
fall over properties that are not set. So the driver never holds one: it holds :class:`Ref`, which has no properties at
all, reads by :mod:`~harness.backends.vsphere.collector` and calls by
:meth:`~harness.backends.vsphere.session.Session.call`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import VmomiSupport
from pyVmomi.SoapAdapter import StubAdapterBase

_BASE = "vim.version.version9"


@dataclass(frozen=True, slots=True)
class Ref:
    """A managed object on the host: its kind as the API names it (``VirtualMachine``), and its id (``vm-42``)."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @property
    def managed(self) -> Any:
        """The object for use as an argument or inside a specification: inert, reading an attribute of it raises."""
        return managed_type(self.kind)(self.id, INERT)


class Inert(StubAdapterBase):
    """What managed objects hang on that are in our hands as arguments and results: it calls nothing."""

    def __init__(self, version: str) -> None:
        super().__init__(version)  # type: ignore[no-untyped-call]

    def InvokeMethod(self, mo: Any, info: Any, args: Any) -> Any:  # noqa: N802 - pyVmomi's name
        """Never."""
        raise AssertionError(f"{info.name} called on {ref_of(mo)} itself: use Session.call")

    def InvokeAccessor(self, mo: Any, info: Any) -> Any:  # noqa: N802 - pyVmomi's name
        """Never."""
        raise AssertionError(f"{info.name} read from {ref_of(mo)} itself: use the collector")


INERT = Inert(_BASE)


def managed_type(kind: str) -> Any:
    """The class in pyVmomi of a kind of managed objects."""
    return VmomiSupport.GetWsdlType("urn:vim25", kind)


def ref_of(managed: Any) -> Ref:
    """The reference that a managed object stands for."""
    return Ref(type(managed)._wsdlName, managed._GetMoId())  # noqa: SLF001 - pyVmomi calls these names public


def plain(value: Any) -> Any:
    """A property's value with every managed object at its top, or in a list there, as a :class:`Ref`."""
    if isinstance(value, VmomiSupport.ManagedObject):
        return ref_of(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def bound(value: Any) -> Any:
    """The inverse of :func:`plain`, for arguments."""
    if isinstance(value, Ref):
        return value.managed
    if isinstance(value, (list, tuple)):
        return [bound(item) for item in value]
    return value
