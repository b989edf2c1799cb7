"""The contract every backend keeps: written against ``harness.backends.protocol`` alone, run on real hosts and guests.

``pytest tests/contract`` runs it on every backend of ``tests/contract/backends.py``;
``pytest tests/contract --lab FILE --host NAME`` on that host, as ``interop lab accept`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.backends import protocol
from harness.backends.capabilities import Capability
from harness.backends.model import Firmware, PowerState, Shape
from harness.core import GiB, MiB, Size
from harness.core.secrets import heard_by
from harness.guest import Guest
from harness.image import resolve
from harness.lab import Run, load_lab
from harness.lab.attend import Attendant
from tests.contract.backends import BACKENDS
from tests.contract.seen import Seen
from tests.contract.site import CLEAN, Site
from tests.spreading import column_of, scheduler

SEEN: pytest.StashKey[Seen] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to write what was seen; the plugin has --lab, --host and --image."""
    group = parser.getgroup("contract", "the contract of backends")
    group.addoption("--columns", default=",".join(BACKENDS), help="backends to run it on (default: %(default)s)")
    group.addoption("--seen", default=None, metavar="FILE", help="write what was seen of the host, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """The contract's own markers."""
    config.addinivalue_line("markers", "read_only: changes nothing on the host; runs before all else")
    config.addinivalue_line(
        "markers",
        "proves(*capabilities, needed=True): skipped where the host lacks one of them; else the test does less there",
    )
    _columns(config, None)  # what is wrong with the command line is said once, not by each test
    config.stash[SEEN] = seen = Seen()
    hearing = ExitStack()
    hearing.enter_context(heard_by(seen.redactor.register))
    config.add_cleanup(hearing.close)
    target = config.getoption("--seen", default=None)
    if target:
        _writers.append(lambda: seen.write(Path(target)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of the contract runs once a backend; those of one backend's own files on that alone."""
    if "site" in metafunc.fixturenames:
        own = _own(metafunc.definition.path)
        metafunc.parametrize("site", _columns(metafunc.config, own), indirect=True, scope="session")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """One backend's own tests are nothing to a host of another."""
    return True if _of_another(collection_path, config) else None


def files(config: pytest.Config) -> set[Path]:
    """The contract's files as far as they are about the backends that it is run on."""
    return {path for path in Path(__file__).parent.glob("test_*.py") if not _of_another(path, config)}


def _of_another(path: Path, config: pytest.Config) -> bool:
    """Whether a file is about one backend alone, and none that is asked for."""
    own, name = _own(path), config.getoption("interop_host")
    if own is None:
        return False
    if name is None:
        return own not in config.getoption("--columns").split(",")
    host = load_lab(config.getoption("--lab")).hosts.get(name)
    return host is not None and host.backend != own


def _own(path: Path) -> str | None:
    """The backend that ``test_contract_BACKEND.py`` or ``test_contract_BACKEND_*.py`` is about, if it is of one."""
    about = path.stem.removeprefix("test_contract_").partition("_")[0]
    return about if about in BACKENDS else None


def _columns(config: pytest.Config, own: str | None) -> list[Any]:
    name = config.getoption("interop_host")
    if name is None:
        wanted = config.getoption("--columns").split(",")
        if not set(wanted) <= set(BACKENDS):
            raise pytest.UsageError(
                f"--columns: {', '.join(set(wanted) - set(BACKENDS))}; there are {', '.join(BACKENDS)}"
            )
        chosen = {backend: BACKENDS[backend] for backend in wanted if own in (None, backend)}
        return [pytest.param((column.lab, column.host, column), id=backend) for backend, column in chosen.items()]
    lab = load_lab(config.getoption("--lab"))
    if name not in lab.hosts:
        raise pytest.UsageError(f"the lab {lab.name!r} has no host {name!r}; it has {', '.join(lab.hosts)}")
    backend = lab.hosts[name].backend
    if backend not in BACKENDS:
        raise pytest.UsageError(
            f"the contract knows nothing of the backend {backend!r}: add it to {__package__}.backends"
        )
    return [pytest.param((config.getoption("--lab"), name, BACKENDS[backend]), id=name)]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What changes nothing comes first, then what needs no guest that is up; what nobody could do is left out."""
    empty = {item for item in items if item.path.parent == Path(__file__).parent and _of_nothing(item)}
    if empty:
        config.hook.pytest_deselected(items=list(empty))
        items[:] = [item for item in items if item not in empty]
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    places = [index for index, item in enumerate(items) if item in set(ours)]
    for index, item in zip(places, sorted(ours, key=_effort), strict=True):
        items[index] = item


_LEADS_TO = {PowerState.PAUSED: protocol.Pausable, PowerState.SAVED: protocol.Savable}


def _of_nothing(item: pytest.Item) -> bool:
    """Whether this is a table's cell about a verb, or a state, that no machine of the backend has."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "site" not in params:
        return False
    lacks = params["site"][2].lacks
    cells = [value for name, value in params.items() if name != "site"]
    kinds = [_LEADS_TO.get(cell) if isinstance(cell, PowerState) else getattr(cell, "kind", cell) for cell in cells]
    return any(kind is lack for kind in kinds for lack in lacks)


def _effort(item: pytest.Item) -> tuple[str, int]:
    params = getattr(getattr(item, "callspec", None), "params", {})
    host = str(params.get("site", ("", ""))[1])
    names = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("read_only"):
        return host, 0
    if "last" in item.keywords:
        return host, 9
    return host, 1 + bool(names & {"guest", "spoilt"}) + 2 * bool(names & {"other", "each"})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n`` columns run beside each other; within one, the order stays."""
    columns = BACKENDS if config.getoption("interop_host") is None else ()
    return scheduler(config, log, lambda nodeid: column_of(nodeid, columns))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A host that cannot even be read is not touched."""
    if report.failed and "read_only" in report.keywords:
        _stop.append(report.nodeid)


_stop: list[str] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what follows a failed reading, and what the host says it cannot do."""
    if _stop and not item.get_closest_marker("read_only"):
        pytest.skip(f"the host could not be read ({_stop[0]}), so it is not touched")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep outcomes for the file of what was seen."""
    report = yield
    item.config.stash[SEEN].note(report)
    return report


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Write the file of what was seen after each test: a session that is killed leaves what it saw until then."""
    del nodeid
    for write in _writers:
        write()


def pytest_unconfigure() -> None:
    """The last word, with the figures of the whole session."""
    for write in _writers:
        write()
    _writers.clear()


_writers: list[Callable[[], None]] = []


# The host.


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The host under contract, and the means to make machines on it."""
    lab_name, host_name, column = request.param
    lab = load_lab(lab_name)
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def image() -> Any:
        with capture.global_and_fixture_disabled():
            return resolve(request.config.getoption("--image"))

    with Run.begin(lab) as run, Attendant(lab, run.id) as attendant:
        site = Site(
            lab, lab.hosts[host_name], column, run, folder=tmp_path_factory.mktemp("contract"), find_image=image
        )
        if site.host.twin:
            kernel, initrd = site.image.kernel, site.image.initrd
            attendant.attend(site.host, (kernel, initrd) if kernel and initrd else None)
        seen = request.config.stash[SEEN]
        seen.run = run.id
        seen.log = site.log
        yield site
        problems = site.close()
        site.reconnect()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def seen(request: pytest.FixtureRequest) -> Seen:
    """What this session has seen so far."""
    return request.config.stash[SEEN]


@pytest.fixture(autouse=True)
def _needed(request: pytest.FixtureRequest) -> None:
    """A test that proves a capability is skipped, with that reason, where the host lacks it."""
    marks = list(request.node.iter_markers("proves"))
    if marks:
        site: Site = request.getfixturevalue("site")
        able = site.hypervisor.capabilities(main_shape(site))
        for capability in (need for mark in marks if mark.kwargs.get("needed", True) for need in mark.args):
            if capability not in able:
                pytest.skip(f"{site.host.name} cannot: {capability.value} ({capability.name})")


# Machines without a guest that anybody waits for.


@pytest.fixture
def machine(site: Site) -> Iterator[Any]:
    """A small machine of this test's own; it is off and was never on."""
    made = site.create()
    yield made
    site.destroy(made)


# Guests. Two serve the whole contract: booting costs a minute each under emulation.


def main_shape(site: Site) -> Shape:
    """The shape of the first guest: with room to plug in whatever the host can plug in."""
    roomy = Shape(
        vcpus=2,
        max_vcpus=3,
        max_memory=Size(2 * GiB),
        nics=2,
        data_disks=(Size(64 * MiB),),
    )
    able = site.hypervisor.capabilities(roomy)
    return Shape(
        vcpus=2,
        max_vcpus=3 if Capability.CPU_HOT_ADD in able else None,
        max_memory=Size(2 * GiB) if Capability.MEMORY_HOT_ADD in able else None,
        nics=2,
        data_disks=roomy.data_disks,
        data_sectors=4096 if Capability.SECTORS_4K in able else 512,
    )


def other_shape(site: Site) -> Shape:
    """The shape of the second guest: the other firmware, where the host has it."""
    uefi = Shape(vcpus=1, firmware=Firmware.UEFI, nics=2)
    able = site.hypervisor.capabilities(uefi)
    return uefi if Capability.UEFI in able else Shape(vcpus=1, nics=2)


@pytest.fixture(scope="session")
def first_guest(site: Site) -> Guest:
    """The first guest as it came up; tests take it as ``guest`` or ``spoilt``."""
    guest = site.guest(main_shape(site), word="first")
    machine: Any = guest.machine
    if site.can(Capability.CHECKPOINT, guest.shape):
        machine.checkpoint("contract-blank", site.deadline(), memory=False)
    return _up(site, guest)


@pytest.fixture(scope="session")
def other(site: Site) -> Guest:
    """A second guest beside the first, UEFI where the host has it."""
    return _up(site, site.guest(other_shape(site), word="other"))


def _up(site: Site, guest: Guest) -> Guest:
    site.boot(guest)
    machine: Any = guest.machine
    if site.can(Capability.CHECKPOINT_WITH_MEMORY, guest.shape):
        machine.checkpoint(CLEAN, site.deadline(), memory=True)
        guest.disconnect()
        guest.wait_ready(site.deadline())
    return guest


@pytest.fixture
def guest(site: Site, first_guest: Guest) -> Guest:
    """A running guest; whoever takes it leaves it as it was."""
    if site.view(first_guest.machine).state is not PowerState.RUNNING:
        site.restore(first_guest)
    return first_guest


@pytest.fixture(params=["first", "other"])
def each(request: pytest.FixtureRequest, site: Site) -> Iterator[Guest]:
    """Each of the two guests in turn, BIOS and UEFI; brought back to what it was afterwards."""
    guest = request.getfixturevalue("first_guest" if request.param == "first" else "other")
    yield guest
    site.restore(guest)


@pytest.fixture
def spoilt(site: Site, guest: Guest) -> Iterator[Guest]:
    """The same guest for tests that change it: brought back to what it was afterwards."""
    yield guest
    site.restore(guest)
