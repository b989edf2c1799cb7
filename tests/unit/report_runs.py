"""Results of runs that no guest was needed for, written as Allure's results are."""

from __future__ import annotations

import json
from pathlib import Path

from harness.report.environment import HostRecord, RunRecord, write

KVM = HostRecord("kvm-1", "kvm", "kvm", "QEMU/libvirt", "8.2.2", "kvm")
ESXI = HostRecord("esx-1", "esxi8", "vsphere", "VMware ESXi", "8.0.2", "tcg", twin=True)


def run(root: Path, name: str = "r1", *, hosts=(KVM, ESXI), image="debian12", lab="lab") -> Path:
    """A run's results folder, with what ran where and no result yet."""
    results = root / name / "results"
    results.mkdir(parents=True)
    write(results, RunRecord(name, lab, "0.1.0", image, "ab" * 32, "cd" * 8, hosts=hosts))
    return results


def result(
    results: Path,
    check: str,
    pool: str,
    *,
    status="passed",
    message="",
    title="it does",
    params=(),
    start=1_767_225_600,
    fault="",
    measured=(),
    twin=False,
) -> str:
    """Write one result and what it measured; returns its uuid."""
    number = len(list(results.glob("*-result.json")))
    uuid = f"{check}-{pool}-{number}".replace(" ", "-")
    attachments = []
    for index, one in enumerate(measured):
        source = f"{uuid}-{index}-attachment.json"
        (results / source).write_text(json.dumps({"unit": "s", "better": "lower", "samples": []} | one))
        attachments.append({"name": f"measurement {one['name']}", "source": source, "type": "application/json"})
    number_of = check.partition(" ")[0]
    labels = {"check": number_of, "pool": pool, "suite": "vcpu", "story": f"{number_of} {title}"}
    labels |= {"fault": fault} if fault else {}
    labels |= {"tag": "twin"} if twin else {}
    (results / f"{uuid}-result.json").write_text(
        json.dumps(
            {
                "uuid": uuid,
                "name": f"{check} {title}",
                "fullName": check,
                "status": status,
                "historyId": f"{check}/{pool}/{params}",
                "start": start * 1000,
                "stop": start * 1000 + 1500,
                "statusDetails": {"message": message},
                "labels": [{"name": name, "value": value} for name, value in labels.items()],
                "parameters": [{"name": name, "value": value} for name, value in (*params, ("pool", pool))],
                "attachments": attachments,
            }
        )
    )
    return uuid
