"""What ran where: the facts of a run that the report shows beside its results."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.report.layout import settings
from harness.report.redact import Redactor
from harness.report.results import masked, write_whole

# Read by the renderer beside the results; Allure itself takes no notice of it.
POOLS_FILE = "pools.json"

# The line of a pool's facts that says so.
TWIN = "Twin"

# Allure 3 refuses longer ones, and control characters and path-like parts in any.
_NAME_LIMIT = 64


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host that took part.

    Args:
        name: the lab's name.
        pool: the pool it belongs to.
        backend: ``kvm``, ``hyperv``, ``vsphere``.
        product: ``QEMU/libvirt``, ``VMware ESXi`` ...
        version: the product's version; with the build where the product has one.
        accel: what ran the vCPUs: ``kvm``, ``tcg``, ``hyperv``, ``vmware``.
        twin: a stand-in for the real product.
        details: further versions (``libvirt``, ``firmware`` ...).
        kernel: the guest's kernel as it ran here.
        services: the guest's integration services and their versions.
        guest: what else it is made of: distribution, whether SELinux is enforced, what sets up its network.
        limits: how far limits are calibrated, in words.
        sizes: which set of sizes checks used, in words.
        release: what was seen when the run's release was installed: which and side, its digest, and versions ``before``
            (in the image), on the ``baseline`` where that came first, and ``after``; empty where nothing was installed.
    """

    name: str
    pool: str
    backend: str
    product: str
    version: str
    accel: str
    twin: bool = False
    details: Mapping[str, str] = field(default_factory=dict)
    kernel: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    limits: str = ""
    sizes: str = ""
    guest: Mapping[str, str] = field(default_factory=dict)
    release: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Args:
        run: the run's id.
        lab: the lab's name.
        harness: the harness's version.
        image: name of the guest image.
        digest: its sha256.
        build: the build id inside it.
        kernel: the image's kernel, as the recipe pins it or the guest said.
        release: the release of integration services under test, ``NAME`` for its candidate or ``NAME@baseline``;
            empty: what the image carries.
        release_digest: of what is installed: of files, versions and commands.
        hosts: the hosts that took part.
        more: anything else worth a line.
    """

    run: str
    lab: str
    harness: str
    image: str
    digest: str
    build: str = ""
    kernel: str = ""
    release: str = ""
    release_digest: str = ""
    hosts: tuple[HostRecord, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)


def write(folder: Path, record: RunRecord, redactor: Redactor | None = None) -> None:
    """Write everything the report shows about a run into its results folder.

    May be called again as more is known, and by several workers at once: hosts that others wrote of the same run stay.
    """
    redactor = redactor or Redactor()
    lock = folder / ".running" / "environment.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        record = _safe(record, redactor)
        hosts = _recorded(folder, record.run) | {host.name: host for host in record.hosts}
        whole = replace(record, hosts=tuple(hosts.values()))
        pools = {pool: variables(whole, pool) for pool in dict.fromkeys(host.pool for host in whole.hosts)}
        known: dict[str, Any] = {
            "run": whole.run,
            "lab": whole.lab,
            "pools": pools,
            "hosts": [asdict(host) for host in whole.hosts],
        }
        known |= {name: getattr(whole, name) for name in ("image", "digest", "build", "kernel", "harness")}
        if whole.release:
            name, _, side = whole.release.partition("@")
            known["release"] = {"name": name, "side": side or "candidate", "digest": whole.release_digest}
        shown = json.dumps(known, indent=2, ensure_ascii=False)
        write_whole(folder / POOLS_FILE, shown.encode())
        lines = "".join(f"{key} = {value}\n" for key, value in _escaped(environment(whole)).items())
        write_whole(folder / "environment.properties", lines.encode())
    write_whole(folder / "executor.json", json.dumps(executor(record, os.environ), indent=2).encode())
    write_whole(folder / "categories.json", (settings() / "categories.json").read_bytes())


def _safe(record: RunRecord, redactor: Redactor) -> RunRecord:
    """What guests and hosts told of themselves, as a file and a page may hold it."""
    told = masked(asdict(record), redactor)
    return RunRecord(**(told | {"hosts": tuple(HostRecord(**host) for host in told["hosts"])}))


def _recorded(folder: Path, run: str) -> dict[str, HostRecord]:
    path = folder / POOLS_FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if known.get("run") != run:
        return {}
    return {host["name"]: HostRecord(**host) for host in known.get("hosts", [])}


def environment(record: RunRecord) -> dict[str, str]:
    """The run's facts: what Allure lists as metadata.

    A single pool's facts stand among them; of several, each has one line, and its facts show once it is picked as the
    page's environment: the list's keys are cut after a dozen letters.
    """
    pools = list(dict.fromkeys(host.pool for host in record.hosts))
    if len(pools) == 1:
        where = {"Pool": pools[0]} | variables(record, pools[0])
    else:
        where = {pool: in_one_line(record, pool) for pool in pools}
    # The first eight lines show at once, the others when asked for.
    facts = {"Lab": record.lab, "Image": record.image} | where
    facts |= {
        "Run": record.run,
        "Image sha256": record.digest[:16],
        "Build id": record.build,
        "Kernel": facts.get("Kernel") or record.kernel,
        "Release": record.release,
        "Harness": record.harness,
        **record.more,
    }
    return {key: value for key, value in facts.items() if value}


def variables(record: RunRecord, pool: str) -> dict[str, str]:
    """What is worth knowing about a pool's hosts; where its members differ, each value stands there, flagged."""
    members = [host for host in record.hosts if host.pool == pool]
    rows: dict[str, dict[str, str]] = {}
    for host in members:
        rows[host.name] = {
            "Product": host.product,
            "Version": host.version,
            "Acceleration": host.accel,
            TWIN: "a stand-in, not the product" if host.twin else "",
            "Kernel": host.kernel,
            "Backend": host.backend,
            "Sizes": host.sizes,
            "Limits": host.limits,
            **{f"Host {name}": value for name, value in host.details.items()},
            **{f"Guest {name}": value for name, value in {**host.guest, **host.services}.items()},
            **{f"Release {name}": value for name, value in _changes(host.release).items()},
        }
    shown = {"Hosts" if len(rows) > 1 else "Host": ", ".join(rows)}
    for key in dict.fromkeys(key for row in rows.values() for key in row):
        values = {name: row.get(key, "") for name, row in rows.items()}
        if len(set(values.values())) == 1:
            shown[key] = next(iter(values.values()))
        else:
            shown[key] = "DIFFERS: " + ", ".join(f"{value or 'none'} on {name}" for name, value in values.items())
    return {key: value for key, value in shown.items() if value}


def _changes(release: Mapping[str, Any]) -> dict[str, str]:
    """Each version that a release was seen to have, and what there was before."""
    before = release.get("baseline") or release.get("before", {})
    side = "baseline" if release.get("baseline") else "image"
    return {
        name: now if before.get(name) == now else f"{now}; {side}: {before.get(name, 'none')}"
        for name, now in release.get("after", {}).items()
    }


def in_one_line(record: RunRecord, pool: str) -> str:
    """A pool's product, version and acceleration."""
    shown = variables(record, pool)
    differs = any(value.startswith("DIFFERS") for value in shown.values())
    members = [host for host in record.hosts if host.pool == pool]
    # First what must be seen: the page cuts long lines.
    words = [f"{'twin of ' if members[0].twin else ''}{members[0].product} {members[0].version}", members[0].accel]
    words += ["members differ"] * differs
    return ", ".join(words)


def executor(record: RunRecord, env: Mapping[str, str]) -> dict[str, str]:
    """Who ran it: the CI job that the environment tells of, else this controller."""
    for kind, name, url, build in (
        ("gitlab", "GitLab CI", "CI_JOB_URL", "CI_PIPELINE_ID"),
        ("jenkins", "Jenkins", "BUILD_URL", "BUILD_TAG"),
    ):
        if env.get(url):
            return _filled(name=name, type=kind, buildUrl=env[url], buildName=env.get(build, record.run))
    if env.get("GITHUB_RUN_ID"):
        url = (
            f"{env.get('GITHUB_SERVER_URL', '')}/{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{env['GITHUB_RUN_ID']}"
        )
        return _filled(name="GitHub Actions", type="github", buildUrl=url, buildName=env.get("GITHUB_RUN_NUMBER", ""))
    return _filled(name=f"interop {record.harness}", type="interop")


def environment_id(pool: str) -> str:
    """A pool's name as Allure 3 accepts it for an environment's id: latin letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", pool).strip("-")[:_NAME_LIMIT] or "pool"


def environment_name(pool: str, *, twin: bool = False) -> str:
    """A pool's name as Allure 3 accepts it for an environment's name: no ``/``, no control characters, not too long.

    Args:
        pool: the pool.
        twin: its hosts are stand-ins, and the name says so.
    """
    suffix = " (twin)" if twin else ""
    words = re.sub(r"[\x00-\x1f\x7f-\x9f/\\]+", "-", pool).strip(" .-")[: _NAME_LIMIT - len(suffix)] or "pool"
    return words + suffix


def _filled(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _escaped(facts: Mapping[str, str]) -> dict[str, str]:
    """Keys and values in the syntax of Java's property files."""
    return {
        re.sub(r"([\\:=#! ])", r"\\\1", _line(key)): _line(value).replace("\\", "\\\\") for key, value in facts.items()
    }


def _line(text: str) -> str:
    return " ".join(text.split())
