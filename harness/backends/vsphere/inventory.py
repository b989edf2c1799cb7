"""From the names in a lab file to objects of the inventory; a name that is not there gets the nearest that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from harness.backends.vsphere import collector
from harness.backends.vsphere.access import Place, alone
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.errors import NameTaken
from harness.backends.vsphere.networks import PortGroup
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.backends.vsphere.settings import Settings
from harness.core import Deadline, LabError, Size, UsageError
from harness.core.config import nearest

_HOST = ("name", "parent", "datastore", "runtime.connectionState", "runtime.inMaintenanceMode")
_STORE = ("name", "summary.accessible", "summary.freeSpace", "summary.capacity", "summary.maintenanceMode")


@dataclass(frozen=True, slots=True)
class Found:
    """What the names of a lab file stand for.

    Args:
        place: where machines go.
        esxi: the name of the ESXi in the inventory.
        datastore: the datastore's name.
        free: free space on it.
        capacity: its size.
    """

    place: Place
    esxi: str
    datastore: str
    free: Size
    capacity: Size


def resolve(session: Session, settings: Settings, deadline: Deadline) -> Found:
    """Look everything up; our folder of virtual machines is made if it is not there.

    Raises:
        UsageError: a name is not in the inventory, or one must be given; with the names there are.
        LabError: the ESXi is not connected, or the account may not see or make something.
    """
    return _Resolver(session, settings, deadline).found()


def port_groups(session: Session, esxi: Ref, deadline: Deadline) -> dict[str, PortGroup]:
    """The networks that machines on an ESXi can be plugged into, by name."""
    refs: list[Ref] = collector.read_one(session, esxi, "network", deadline=deadline).get("network", [])
    standard = [ref for ref in refs if ref.kind == "Network"]
    distributed = [ref for ref in refs if ref.kind == "DistributedVirtualPortgroup"]
    found = {}
    for values in collector.read(session, standard, ["name"], deadline).values():
        name = unquote(values["name"])
        found[name] = PortGroup(name)
    groups = collector.read(session, distributed, ["name", "key", "config.distributedVirtualSwitch"], deadline)
    switches = [values["config.distributedVirtualSwitch"] for values in groups.values()]
    uuids = collector.read(session, switches, ["uuid"], deadline) if switches else {}
    for values in groups.values():
        name = unquote(values["name"])
        switch = uuids.get(values["config.distributedVirtualSwitch"], {}).get("uuid", "")
        found[name] = PortGroup(name, values["key"], switch)
    return found


def child(session: Session, parent: Ref, name: str, deadline: Deadline) -> Ref | None:
    """The object of this name directly in a folder; one round trip."""
    found: Ref | None = session.call("look up", session.manager("searchIndex"), "FindChild", deadline, parent, name)
    return found


def folder(session: Session, parent: Ref, name: str, deadline: Deadline) -> Ref:
    """The folder of this name in another one, made if it is not there; two makers at once get the same one."""
    found = child(session, parent, name, deadline)
    if found is None:
        try:
            found = session.call("make folder", parent, "CreateFolder", deadline, name)
        except NameTaken:
            found = child(session, parent, name, deadline)
    if found is None or found.kind != "Folder":
        kind = found.kind if found else "nothing"
        raise LabError(
            f"the folder {name!r} cannot be had: there is a {kind} of this name", host=session.host, operation="connect"
        )
    return found


class _Resolver:
    def __init__(self, session: Session, settings: Settings, deadline: Deadline) -> None:
        self._session = session
        self._settings = settings
        self._deadline = deadline

    def found(self) -> Found:
        centers = collector.children(
            self._session, self._session.root, "Datacenter", ["name", "vmFolder", "parent"], self._deadline
        )
        center = self._chosen("datacenter", self._settings.datacenter, centers)
        wanted = {"HostSystem": _HOST, "ComputeResource": ("name", "resourcePool")}
        if self._settings.resource_pool:
            wanted["ResourcePool"] = ("name", "owner")
        there = collector.below(self._session, center, wanted, self._deadline)
        computes = {ref: values for ref, values in there.items() if ref.kind.endswith("ComputeResource")}
        hosts = {ref: values for ref, values in there.items() if ref.kind == "HostSystem"}
        if self._settings.cluster:
            clusters = {ref: values for ref, values in computes.items() if ref.kind == "ClusterComputeResource"}
            cluster = self._chosen("cluster", self._settings.cluster, clusters)
            hosts = {ref: values for ref, values in hosts.items() if values["parent"] == cluster}
        esxi = self._esxi(hosts)
        compute = hosts[esxi]["parent"]
        pool = computes[compute]["resourcePool"]
        if self._settings.resource_pool:
            pools = {ref: values for ref, values in there.items() if ref.kind == "ResourcePool"}
            own = {ref: values for ref, values in pools.items() if values["owner"] == compute}
            pool = self._chosen("resource_pool", self._settings.resource_pool, own)
        store, values = self._datastore(hosts[esxi])
        place = Place(
            datacenter=center,
            datacenter_path=self._path(center, centers[center]),
            host=esxi,
            cluster=compute if compute.kind == "ClusterComputeResource" else None,
            pool=pool,
            datastore=store,
            folder=self._folder(centers[center]["vmFolder"]),
        )
        free, capacity = Size(values["summary.freeSpace"]), Size(values.get("summary.capacity", 0))
        return Found(place, unquote(hosts[esxi]["name"]), unquote(values["name"]), free, capacity)

    def _folder(self, root: Ref) -> Ref:
        """Our own; an ESXi without a vCenter has the one folder only."""
        if alone(self._session):
            return root
        return folder(self._session, root, self._settings.folder, self._deadline)

    def _esxi(self, hosts: Mapping[Ref, Values]) -> Ref:
        wanted = self._settings.esxi
        if isinstance(wanted, tuple):
            if len(wanted) > 1:
                raise self._usage(f"`esxi:` names {len(wanted)} hosts where one is meant")
            wanted = wanted[0]
        esxi = self._chosen("esxi", wanted, hosts)
        values = hosts[esxi]
        state = str(values.get("runtime.connectionState"))
        if state != "connected" or values.get("runtime.inMaintenanceMode"):
            state = "in maintenance mode" if state == "connected" else state
            raise LabError(
                f"the ESXi {values['name']} is {state}",
                host=self._session.host,
                operation="connect",
                hint="look at it in the inventory",
            )
        return esxi

    def _datastore(self, esxi: Values) -> tuple[Ref, Values]:
        stores = collector.read(self._session, esxi.get("datastore", []), _STORE, self._deadline)
        usable = {ref: values for ref, values in stores.items() if values.get("summary.accessible")}
        if self._settings.datastore:
            store = self._chosen("datastore", self._settings.datastore, usable)
            return store, usable[store]
        calm = {ref: one for ref, one in usable.items() if one.get("summary.maintenanceMode", "normal") == "normal"}
        if not calm:
            raise LabError(
                f"the ESXi {esxi['name']} has no datastore that it can use",
                host=self._session.host,
                operation="connect",
            )
        # By what stays: each process of a run chooses for itself, and all must come to the same.
        return max(calm.items(), key=lambda item: (int(item[1].get("summary.capacity", 0)), item[1]["name"]))

    def _path(self, center: Ref, values: Values) -> str:
        """The datacenter's path from the root folder, which file transfers want; datacenters may lie in folders."""
        names = [unquote(values["name"])]
        parent: Any = values.get("parent")
        while parent is not None and parent != self._session.root:
            above = collector.read_one(self._session, parent, "name", "parent", deadline=self._deadline)
            names.insert(0, unquote(above["name"]))
            parent = above.get("parent")
        return "/".join(names)

    def _chosen(self, key: str, wanted: str | None, present: Mapping[Ref, Values]) -> Ref:
        names = {ref: unquote(values["name"]) for ref, values in present.items()}
        words = key.replace("_", " ")
        if wanted is None:
            if len(names) == 1:
                return next(iter(names))
            if not names:
                raise self._usage(f"the account sees no {words}", "docs/vsphere-host.md tells which rights it needs")
            raise self._usage(f"there are {len(names)} to choose from: name one under `{key}:` ({_some(names)})")
        found = [ref for ref, name in names.items() if name == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise self._usage(f"{len(found)} of the inventory are called {wanted!r} as a {words}")
        raise self._usage(f"there is no {words} {wanted!r}{nearest(wanted, names.values())}")

    def _usage(self, text: str, hint: str | None = None) -> UsageError:
        return UsageError(text, host=self._session.host, operation="connect", hint=hint)


def _some(names: Mapping[Ref, str]) -> str:
    shown: Iterable[str] = sorted(set(names.values()))
    return ", ".join(list(shown)[:20])
