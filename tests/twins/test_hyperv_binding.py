"""Every call that the driver makes, bound by the real PowerShell binder against the documented cmdlets of each year."""

import json
import os
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.backends import hyperv
from harness.backends.hyperv.session import Agent
from harness.backends.hyperv.steps import Ref, Step, Typed
from harness.backends.model import (
    DeviceKind,
    DiskSpec,
    Firmware,
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Ownership,
    PublishedImage,
    Shape,
    Trunk,
)
from harness.backends.protocol import GuestIgnored, NicPlug, Refused
from harness.backends.registry import Context
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline, GiB, InteropError, MiB, Size
from harness.image.model import Format, Image
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.emulated.signatures import signatures
from harness.twins.hyperv.twin import Twin
from tests.unit.fake_ledger import NoLedger
from tests.unit.powershell import LocalPipe, modules, soon

_OURS = "Interop"
_HYPER_V = re.compile(r"\w+-(VM|VHD|VFD)\w*", re.IGNORECASE)
"""All that the module names so, and nobody else: what is called so has to be in it."""
_ELSEWHERE = {"Get-WinEvent": {"FilterHashtable", "MaxEvents"}}  # of a module that the facts leave out


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """All that the driver asks of a host: each combination of parameters, and of the words that they choose from."""
    folder = tmp_path_factory.mktemp("binding")
    networks = {"peers": {"kind": "switch"}}
    config = TwinConfig(folder=folder / "twin", guests=False, powershell="emulated", networks=networks, merge_seconds=0)
    with Twin(config) as twin:
        owner = Ownership("run-1a", "t0k3n", datetime.now(UTC) + timedelta(days=1))
        context = Context("win1", owner, NoLedger(), folder / "scratch")
        seen = {}
        for pull in (None, "127.0.0.1"):
            settings = hyperv.Settings(twin=True, pull=pull).at_twin(twin.said())
            host = hyperv.connect(settings, context)
            with closing(host):
                run = host.agents.run

                def recording(operation, asked, deadline, *, repeatable=False, run=run):
                    for step in asked:
                        seen.setdefault((step.call, tuple(sorted(step.args)), _chosen(step)), step)
                    return run(operation, asked, deadline, repeatable=repeatable)

                host.agents.run = recording
                _exercise(host, owner, folder, pull or "sent")
        return list(seen.values())


def _chosen(step):
    """The values that a parameter takes out of a few: each of them has to be one of those."""
    known = signatures(2025).get(step.call.lower())
    few = {name for name, each in known.parameters.items() if each.values} if known else set()
    return tuple(sorted((name, str(value)) for name, value in step.args.items() if name in few))


def _exercise(host, owner, folder, tag):
    """Every verb, with every choice that changes what is called: one that failed would call less than it does."""
    disk = folder / "disk.vhdx"
    disk.write_bytes(b"x" * 1000)
    files = {Format.QCOW2: disk, Format.VHDX: disk}
    host.clock(soon())
    host.examine((), soon())
    host.publish(Image("tiny", (tag * 64).encode().hex()[:64], files, Size(MiB)), soon())
    base = host._host.image(f"base-{tag}")
    make = Step("New-VHD", {"Path": base, "SizeBytes": 64 << 20, "Dynamic": True})
    host.agents.run("base", [make], soon())
    for firmware in Firmware:
        for kind in DeviceKind:
            network = NetworkSpec(
                "peers", NetworkKind.NETWORK, "peers", vlan=7 if kind is DeviceKind.EMULATED else None
            )
            nics = (
                NicSpec("00:15:5d:00:00:01", network, kind=kind),
                NicSpec("00:15:5d:00:00:02", network, connected=False),
            )
            disks = (DiskSpec("data0", Size(32 * MiB), 4096 if kind is DeviceKind.EMULATED else 512),)
            shape = Shape(
                firmware=firmware, nics=2, data_disks=(disks[0].size,), max_memory=Size(2 * GiB), numa_nodes=2
            )
            image = PublishedImage("base", base)
            spec = MachineSpec(f"g-{firmware.value}", image, shape, nics, disk, owner, disks)
            if (firmware, kind) == (Firmware.UEFI, DeviceKind.EMULATED):
                with pytest.raises(Refused, match="no legacy NICs"):
                    host.create(spec, soon())
                continue
            _live(host, host.create(spec, soon()), disk)
    mark = f"g1~run-1a~t0k3n~{int(owner.expiry.timestamp())}"
    for kind in (ResourceKind.FOLDER, ResourceKind.IMAGE, ResourceKind.MACHINE):
        handle = "6d4f0000-0000-0000-0000-000000000000" if kind is ResourceKind.MACHINE else mark
        host.remove(Owned(kind, handle, owner), soon())
    list(host.owned(soon()))


def _live(host, machine, source):
    verbs = [
        lambda: host.open(machine.id, soon()),
        lambda: machine.resize(soon(), vcpus=2, memory=GiB),
        lambda: machine.checkpoint("cold", soon(), memory=False),
        lambda: machine.revert("cold", soon()),
        lambda: machine.start(soon()),
        lambda: machine.pause(soon()),
        lambda: machine.resume(soon()),
        lambda: machine.reset(soon()),
        lambda: machine.save(soon()),
        lambda: machine.restore(soon()),
        lambda: machine.view(soon()),
        lambda: machine.attach_disk(DiskSpec("extra", Size(32 * MiB)), soon()),
        lambda: machine.resize_disk("extra", Size(64 * MiB), soon()),
        lambda: machine.disk_names(soon()),
        lambda: machine.detach_disk("extra", soon()),
        *(_plugging(machine) if isinstance(machine, NicPlug) else ()),
        lambda: machine.link("00:15:5d:00:00:01", False, soon()),
        lambda: machine.link("00:15:5d:00:00:01", True, soon()),
        lambda: machine.services(soon()),
        lambda: machine.toggle("kvp", False, soon()),
        lambda: machine.toggle("kvp", True, soon()),
        _ignored(lambda: machine.exchange("OSName", soon())),
        lambda: machine.exchange("key=value", soon()),
        _ignored(lambda: machine.copy_file(source, "/tmp/x", soon())),
        lambda: machine.addresses(soon()),
        lambda: machine.screenshot(soon()),
        lambda: machine.nmi(soon()),
        lambda: machine.events(soon()),
        lambda: machine.console().read(0, 10),
        lambda: machine.console().write(b"x"),
        lambda: machine.reboot(Deadline.after(1)),
        lambda: machine.shutdown(Deadline.after(1)),
        lambda: machine.stop(soon()),
        lambda: machine.drop_checkpoint("cold", soon()),
        lambda: machine.destroy(soon()),
    ]
    for verb in verbs:
        verb()


def _ignored(verb):
    """No guest runs there: nobody answers what the host hands on to one, once all is called."""

    def expected():
        with pytest.raises(GuestIgnored):
            verb()

    return expected


def _plugging(machine):
    mac, plain = "00:15:5d:00:00:09", machine.spec.nics[0]
    trunk = replace(plain.network, vlan=None, trunk=Trunk(frozenset({8, 9}), native=7))
    return (
        lambda: machine.attach_nic(replace(plain, mac=mac), soon()),
        lambda: machine.detach_nic(mac, soon()),
        lambda: machine.attach_nic(replace(plain, mac=mac, network=trunk), soon()),
        lambda: machine.detach_nic(mac, soon()),
    )


@pytest.mark.parametrize("year", ["2016", "2019", "2022", "2025"])
def test_the_binder_takes_every_call_to_hyper_v(steps, year):
    """No unknown cmdlet or parameter, no ambiguous set, no missing mandatory one, no value that is not accepted."""
    folders = modules()
    if year not in folders:
        pytest.skip(f"there is no documented module of {year}")
    module = folders[year]
    calls = [step for step in steps if _HYPER_V.fullmatch(step.call)]
    assert len(calls) >= 45
    refused = []
    with closing(Agent(lambda deadline: LocalPipe(module), year)) as agent:
        for step in calls:
            found = {ref.name for ref in _refs(step.args)}
            objects = [Step("Write-Output", {"InputObject": {"Path": "x"}}, name=name) for name in sorted(found)]
            try:
                agent.run("bind", [*objects, Step(step.call, step.args)], soon())
            except InteropError as error:
                refused.append(str(error))
    assert not refused, "\n".join(refused)


def test_every_other_cmdlet_is_documented_with_its_parameters(steps):
    """Of Windows PowerShell 5.1 and Server 2022, without their parameter sets."""
    place = os.environ.get("INTEROP_HYPERV_DATA")
    if not place:
        pytest.skip("INTEROP_HYPERV_DATA does not name a folder with the facts of Windows' cmdlets")
    facts = json.loads((Path(place) / "windows-core-cmdlets.json").read_text())
    of_hyperv = json.loads((Path(place) / "hyperv-cmdlets.json").read_text())["cmdlets"]
    documented = _ELSEWHERE | {
        name: set(params) for module in facts["modules"].values() for name, params in module.items()
    }
    strange = []
    for step in steps:
        if step.call in of_hyperv or _OURS in step.call:
            continue
        missing = set(step.args) - documented.get(step.call, set()) - set(facts["_meta"]["common"])
        if step.call not in documented or missing:
            strange.append(f"{step.call}: {sorted(missing)}")
    assert not strange, "\n".join(strange)


def _refs(value):
    match value:
        case Ref():
            yield value
        case Typed(_, inner):
            yield from _refs(inner)
        case dict():
            for inner in value.values():
                yield from _refs(inner)
        case list() | tuple():
            for inner in value:
                yield from _refs(inner)
