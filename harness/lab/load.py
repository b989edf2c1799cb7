"""From a lab file to a :class:`~harness.lab.models.Lab`: fields first, then what no single field can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast

from pydantic import Field, create_model

from harness.backends import registry
from harness.backends.registry import HostSettings
from harness.core import UsageError
from harness.core.config import Problem, StrictModel, check, complaint, nearest, parse_yaml, problem, read_text
from harness.core.named import Shelf
from harness.core.secrets import Secret
from harness.lab.database import Database
from harness.lab.fields import NAME_RULE, Name, is_name
from harness.lab.models import THIS_MACHINE, Host, HostFile, Lab, Limits, Network, slug, unreserved

DEFAULT = "local"
_LABS = Shelf("labs", "lab")


class _Frame(StrictModel):
    """A lab: hosts, the networks between their guests, and how long things may last."""

    hosts: dict[Name, dict[str, Any]] = Field(min_length=1)
    networks: dict[Name, Network]
    limits: Limits = Limits()
    key: Secret | None = None
    """What the marks on hosts are made with, a secret of at least 16 letters: `env:NAME`, `file:PATH` or
    `keyring:SERVICE/USER`. Controllers that share a lab share the key, so that each can remove what another left when
    its time is up. Left out: a key of this controller's own, which it makes and keeps in its state folder."""
    calibration: Path | None = None
    """The file of the lab's own limits and sizes, which `interop calibrate` writes (docs/limits.md); a relative path
    begins at the folder of this file. Left out: limits are as they ship, and those that nobody calibrated only warn."""
    known_issues: Path | None = None
    """The file of failures that are known and do not fail a run (docs/known-issues.md); a relative path begins at the
    folder of this file. Left out: `configs/known-issues.yaml` of the working directory, or of the product."""
    signing_key: Path | None = None
    """The lab's own ssh key, by which `interop validate` signs evidence: a private key file, or the public half of one
    that an ssh agent holds; a relative path begins at the folder of this file. Left out: nothing is signed, and
    statements say so."""
    database: Database | None = None
    """The PostgreSQL database that the lab's controllers share (docs/nights.md): what they lease of hosts and networks,
    and the queue of `interop night`. `postgresql://USER@HOST/NAME` without a password, which is looked for in
    `~/.pgpass`; or a secret that holds the whole URL. Left out: this controller has the lab to itself."""


def load_lab(name_or_path: str | Path = DEFAULT) -> Lab:
    """Read a lab: a path, or a name that ``./configs/labs`` or the product's own ``configs/labs`` holds.

    Raises:
        UsageError: no such lab, or one line ``file:line:column dotted.path: problem`` for everything wrong in it.
    """
    path = find_lab(name_or_path)
    return read_lab(read_text(path), path)


def find_lab(name_or_path: str | Path) -> Path:
    """The file of a lab.

    Raises:
        UsageError: there is none; suggests the nearest name.
    """
    return _LABS.find(name_or_path)


def labs() -> dict[str, Path]:
    """The labs that can be named, those of the working directory before the product's own."""
    return _LABS.files()


def read_lab(text: str, path: Path) -> Lab:
    """Check a lab file's text; ``path`` is where it stands.

    Raises:
        UsageError: as :func:`load_lab`.
    """
    tree = parse_yaml(text, str(path))
    frame, problems = check(tree, _Frame)
    hosts: dict[str, Host] = {}
    for key, section in _mapping(tree, "hosts").items():
        if isinstance(section, dict):
            found, wrong = _hosts(tree, str(key), section.get("backend"), frame)
            problems += wrong
            doubles = sorted(hosts.keys() & found.keys())
            problems += [problem(tree, ("hosts", str(key)), f"two hosts are called {name!r}") for name in doubles]
            hosts |= found
    problems += _mixed_pools(tree, hosts)
    if problems or frame is None:
        raise complaint(str(path), problems)
    own, known, signing = (
        path.resolve().parent / named.expanduser() if named else None
        for named in (frame.calibration, frame.known_issues, frame.signing_key)
    )
    return Lab(
        slug(path.stem),
        path.resolve(),
        hosts,
        frame.networks,
        frame.limits,
        text,
        frame.key,
        own,
        known_issues=known,
        signing_key=signing,
        database=frame.database,
    )


def host_model(backend: str, settings: type[HostSettings]) -> type[HostFile]:
    """The section of a host of this backend: the keys of every host and the backend's own, side by side.

    Raises:
        UsageError: the backend's settings use a key that belongs to the lab.
    """
    taken = (set(HostFile.model_fields) | {"backend"}) & set(settings.model_fields)
    if taken:
        raise UsageError(f"the backend {backend!r} has settings named as a lab's own keys: {', '.join(sorted(taken))}")
    key: Any = Annotated[Literal[backend], Field(description="The driver for this kind of hypervisor.")]
    fields: dict[str, Any] = {"backend": (key, ...)}
    doc = settings.__doc__ or f"A host of the backend `{backend}`."
    return cast("type[HostFile]", create_model(f"{backend}_host", __base__=(HostFile, settings), __doc__=doc, **fields))


def lab_model() -> type[StrictModel]:
    """The whole lab file as one model, with every installed backend's settings: the source of the JSON Schema.

    A backend that is installed but cannot be loaded is left out.

    Raises:
        UsageError: no backend can be loaded.
    """
    hosts = []
    for name in registry.names():
        try:
            hosts.append(host_model(name, registry.find(name).Settings))
        except UsageError:
            continue
    if not hosts:
        raise UsageError("no backend is installed", hint="pip install 'interop-harness[kvm]'")
    section: Any = Annotated[Union[tuple(hosts)], Field(discriminator="backend")] if len(hosts) > 1 else hosts[0]  # noqa: UP007
    fields: dict[str, Any] = {
        "hosts": (
            Annotated[dict[Name, section], Field(min_length=1, description="The hypervisor hosts, by name.")],
            ...,
        ),
        "networks": (Annotated[dict[Name, Network], Field(description="The networks, by name.")], ...),
        "limits": (Annotated[Limits, Field(description="How long things may last.")], Limits()),
        "key": (Annotated[Secret | None, Field(description=_Frame.model_fields["key"].description)], None),
        **{
            name: (Annotated[Path | None, Field(description=_Frame.model_fields[name].description)], None)
            for name in ("calibration", "known_issues", "signing_key")
        },
        "database": (
            Annotated[Database | None, Field(description=_Frame.model_fields["database"].description)],
            None,
        ),
    }
    return create_model("Lab", __base__=StrictModel, __doc__=_Frame.__doc__, **fields)


def lab_schema() -> dict[str, Any]:
    """The JSON Schema of lab files, with the settings of all installed backends.

    Raises:
        UsageError: no backend can be loaded.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **lab_model().model_json_schema(),
        "title": "interop lab file",
    }


def _mapping(tree: Any, key: str) -> dict[Any, Any]:
    part = tree.get(key) if isinstance(tree, dict) else None
    return part if isinstance(part, dict) else {}


def _hosts(tree: Any, name: str, backend: Any, frame: _Frame | None) -> tuple[dict[str, Host], list[Problem]]:
    """The hosts that one section stands for: one, or those that its endpoint manages."""
    at = ("hosts", name)
    if not isinstance(backend, str):
        text = "this key is required" if backend is None else "must be text"
        return {}, [problem(tree, (*at, "backend"), f"{text}{nearest('', registry.names())}")]
    if backend not in registry.names():
        text = f"no backend is called {backend!r}{nearest(backend, registry.names())}"
        return {}, [problem(tree, (*at, "backend"), text)]
    try:
        settings_type = registry.find(backend).Settings
        model = host_model(backend, settings_type)
    except UsageError as error:
        return {}, [problem(tree, (*at, "backend"), error.message)]
    section, problems = check(tree, model, at)
    try:
        unreserved(name)
    except ValueError as error:
        problems.append(problem(tree, at, str(error)))
    if section is None:
        return {}, problems
    if section.proxy and not settings_type.takes_proxy:
        problems.append(problem(tree, (*at, "proxy"), f"the backend {backend!r} cannot use a proxy"))
    roles, wrong = _roles(tree, at, section)
    problems += wrong
    if problems or frame is None:
        return {}, problems
    fields = {key: getattr(section, key) for key in settings_type.model_fields}
    settings = settings_type.model_construct(section.model_fields_set & set(fields), **fields)
    hosts = {}
    for called, each in settings.expand(name).items():
        if not is_name(called):
            text = f"stands for a host that cannot be called {called!r} in a lab: {NAME_RULE}"
            problems.append(problem(tree, at, text))
        hosts[called] = Host(
            name=called,
            backend=backend,
            pool=section.pool or name,
            settings=each,
            capacity=section.capacity,
            domain=section.domain or (THIS_MACHINE if each.local else called),
            management=roles["management"] or "",
            peers=roles["peers"],
            networks=frame.networks,
            proxy=section.proxy,
            twin=name if settings_type.twin_module and getattr(each, "twin", False) else None,
            foreign_load=section.foreign_load or frame.limits.foreign_load,
        )
    return hosts, problems


def _roles(tree: Any, at: tuple[str, str], section: HostFile) -> tuple[dict[str, str | None], list[Problem]]:
    problems = []
    networks = [str(name) for name in _mapping(tree, "networks")]
    roles: dict[str, str | None] = {}
    for role in ("management", "peers"):
        named = getattr(section.networks, role)
        if named and named not in networks:
            text = f"no network is called {named!r}{nearest(named, networks)}"
            problems.append(problem(tree, (*at, "networks", role), text))
        roles[role] = named or (role if role in networks else None)
    if roles["management"] is None:
        text = f"needs a management network: name it here, or call one of the networks so{nearest('', networks)}"
        problems.append(problem(tree, (*at, "networks"), text))
    return roles, problems


def _mixed_pools(tree: Any, hosts: dict[str, Host]) -> list[Problem]:
    problems = []
    first: dict[str, Host] = {}
    for host in hosts.values():
        other = first.setdefault(host.pool, host)
        if other.backend != host.backend:
            text = (
                f"the pool {host.pool!r} holds {other.name!r} of the backend {other.backend!r}, "
                f"and this host is of {host.backend!r}: they are not interchangeable"
            )
            problems.append(problem(tree, ("hosts", host.name, "pool"), text))
    return problems
