"""Whether the account may do everything that runs need, and whether there is room: each lack by its name.

The privileges are those that the vSphere Web Services API Reference names for the methods the driver calls.
``docs/vsphere-host.md`` makes the roles of the same lists.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.backends.check import Remark
from harness.backends.model import NetworkKind, NetworkSpec
from harness.backends.protocol import Refused
from harness.backends.vsphere import collector, placement
from harness.backends.vsphere.access import Place
from harness.backends.vsphere.inventory import Found
from harness.backends.vsphere.networks import PortGroup, wanted
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline, GiB, LabError, Size
from harness.core.config import nearest

_ROOM = Size(20 * GiB)  # an image, its clones' growth and a memory checkpoint each, for a handful of guests

ON_FOLDER = (
    "Folder.Create",
    "Folder.Delete",
    "VApp.Import",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.Annotation",
    "VirtualMachine.Config.CPUCount",
    "VirtualMachine.Config.DiskExtend",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.Memory",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Resource",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.AnswerQuestion",
    "VirtualMachine.Interact.CreateScreenshot",
    "VirtualMachine.Interact.DeviceConnection",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.Reset",
    "VirtualMachine.Interact.SetCDMedia",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.CreateFromExisting",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Provisioning.Clone",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
)
"""On our folder of virtual machines, and what is below it."""
ON_POOL = ("Resource.AssignVMToPool", "VApp.Import")
"""On the resource pool."""
ON_DATASTORE = ("Datastore.AllocateSpace", "Datastore.Browse", "Datastore.DeleteFile", "Datastore.FileManagement")
"""On the datastore."""
ON_NETWORK = ("Network.Assign",)
"""On each port group that guests are plugged into."""
ON_HOST = ("Host.Config.DateTime",)
"""On the ESXi: to read its clock. Without it a run works, and checks of clocks are lab errors."""
ON_CLUSTER = (placement.PRIVILEGE,)
"""On the cluster: to except our machines from DRS and HA. Without it the owner must set a rule."""


@dataclass(frozen=True, slots=True)
class _Scope:
    words: str
    ref: Ref
    privileges: tuple[str, ...]
    hint: str = ""
    needed: bool = True


def examine(
    session: Session,
    found: Found,
    groups: Mapping[str, PortGroup],
    networks: Iterable[NetworkSpec],
    deadline: Deadline,
) -> Iterator[Remark]:
    """Everything that can be seen without making anything."""
    asked = list(networks)
    yield Remark("account", f"{session.settings.user} is logged in")
    for scope in _scopes(session, found, [_group(one, groups) for one in asked], deadline):
        yield _privileges(session, scope, deadline)
    yield _space(found)
    for one in asked:
        yield _network(one, groups)
    if found.place.cluster:
        yield from _cluster(session, found.place.cluster, deadline)


def unruly(session: Session, place: Place, deadline: Deadline) -> str | None:
    """What a report must say of the ESXi's cluster: that it may move guests, and this account cannot keep it off.

    None where it cannot move them, or the account can, or that cannot be found out: then the first machine shows it.
    """
    if place.cluster is None:
        return None
    with contextlib.suppress(LabError, Refused):
        services = placement.meddling(session, place.cluster, deadline)
        if services and _missing(session, _Scope("", place.cluster, ON_CLUSTER), deadline):
            return placement.warning(services, "the account may not change the cluster")
    return None


def _scopes(session: Session, found: Found, groups: list[str | None], deadline: Deadline) -> Iterator[_Scope]:
    place = found.place
    role = "docs/vsphere-host.md has the role as commands"
    yield _Scope("rights on the folder", place.folder, ON_FOLDER, role)
    yield _Scope("rights on the resource pool", place.pool, ON_POOL, role)
    yield _Scope(f"rights on the datastore {found.datastore}", place.datastore, ON_DATASTORE, role)
    refs: list[Ref] = collector.read_one(session, place.host, "network", deadline=deadline).get("network", [])
    for ref, values in collector.read(session, refs, ["name"], deadline).items():
        if values["name"] in groups:
            yield _Scope(f"rights on the network {values['name']}", ref, ON_NETWORK, role)
    yield _Scope("rights on the ESXi", place.host, ON_HOST, "without it the host's clock cannot be read", needed=False)


def _privileges(session: Session, scope: _Scope, deadline: Deadline) -> Remark:
    try:
        missing = _missing(session, scope, deadline)
    except (LabError, Refused) as error:
        return Remark(scope.words, f"could not be found out: {error.message}", None)
    if missing:
        return Remark(scope.words, f"missing: {', '.join(missing)}", False if scope.needed else None, scope.hint)
    return Remark(scope.words, f"all {len(scope.privileges)} there")


def _missing(session: Session, scope: _Scope, deadline: Deadline) -> list[str]:
    """One round trip where the host tells all that the account may do (vSphere 6.5), else one more."""
    manager = session.manager("authorizationManager")
    try:
        arguments = ([scope.ref], session.key, list(scope.privileges))
        answer = session.call("check rights", manager, "HasPrivilegeOnEntities", deadline, *arguments)
        has = {one.privId for entity in answer or () for one in entity.privAvailability if one.isGranted}
    except Refused:
        answer = session.call(
            "check rights", manager, "FetchUserPrivilegeOnEntities", deadline, [scope.ref], session.settings.user
        )
        has = {str(one) for entity in answer or () for one in entity.privileges}
    return [one for one in scope.privileges if one not in has]


def _space(found: Found) -> Remark:
    text = f"{found.free} of {found.capacity} free on {found.datastore}"
    if found.free < _ROOM:
        return Remark("space", text, False, f"runs want {_ROOM}: free some, or name another under `datastore:`")
    return Remark("space", text)


def _group(network: NetworkSpec, groups: Mapping[str, PortGroup]) -> str | None:
    return next((name for name in wanted(network) if name in groups), None)


def _network(network: NetworkSpec, groups: Mapping[str, PortGroup]) -> Remark:
    subject = f"network {network.name}"
    if network.kind not in (NetworkKind.NETWORK, NetworkKind.SWITCH):
        return Remark(subject, f"is a {network.kind.value}", False, "vSphere has port groups: write `kind: network`")
    name = _group(network, groups)
    if name is None:
        source = network.source or network.name
        return Remark(subject, f"the ESXi has no port group {source!r}{nearest(source, groups)}", False)
    return Remark(subject, f"the port group {name}")


def _cluster(session: Session, cluster: Ref, deadline: Deadline) -> Iterator[Remark]:
    services = placement.meddling(session, cluster, deadline)
    if not services:
        yield Remark("cluster", "neither DRS nor HA touches guests")
        return
    yield _privileges(
        session,
        _Scope("rights on the cluster", cluster, ON_CLUSTER, f"without it {placement.RULE}", needed=False),
        deadline,
    )
    text = f"{' and '.join(services)} {'are' if len(services) > 1 else 'is'} on"
    yield Remark("cluster", text, None, "each machine of ours is excepted where rights allow; events tell of moves")
