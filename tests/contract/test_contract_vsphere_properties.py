"""Properties that are not set, as vSphere's collector and pyVmomi's attributes tell of them."""

from __future__ import annotations

from tests.contract import vsphere
from tests.contract.vsphere import name_of, raw, vim_fault

UNSET = (
    "snapshot",
    "resourceConfig",
    "guestHeartbeatStatus",
    "runtime.question",
    "runtime.bootTime",
    "guest.ipAddress",
)

service = vsphere.service


def test_a_property_that_is_not_set_is_missing_from_the_collectors_answer(seen, service, machine):
    """Read as an attribute it is None, an error, or something else: our driver reads no attributes."""
    from pyVmomi import vim, vmodl

    mine = raw(service, machine)
    collector = vmodl.query.PropertyCollector
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=mine)],
        propSet=[collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", *UNSET])],
    )
    (answer,) = service.propertyCollector.RetrievePropertiesEx([spec], collector.RetrieveOptions()).objects
    values = {one.name: type(one.val).__name__ for one in answer.propSet}
    missing = {one.path: name_of(one.fault.fault) for one in answer.missingSet or ()}
    notes = {}
    for path in UNSET:
        try:
            value = mine
            for part in path.split("."):
                value = getattr(value, part)
            attribute = "None" if value is None else type(value).__name__
        except (AttributeError, TypeError, vim_fault()) as error:
            attribute = f"raises {name_of(error)}"
        notes[path] = f"attribute: {attribute}; collector: {missing.get(path) or values.get(path) or 'absent'}"
    seen.tell("properties that are not set", **notes)
    assert "name" in values
    for path in ("snapshot", "runtime.question", "runtime.bootTime", "guest.ipAddress"):
        assert path not in values, values
