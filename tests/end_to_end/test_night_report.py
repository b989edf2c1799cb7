"""A night's pages, rendered by the real Allure: one with every cell, and one whose columns are the pools."""

import json
from pathlib import Path

from click.testing import CliRunner

from harness.cli import interop
from harness.nights.place import Place
from harness.report.identity import POOL


def result(pool: str, status: str) -> dict:
    """As a run writes it, no more than is needed."""
    said = {"suite": "vcpu", "story": "C01 every vCPU comes online", "check": "C01", POOL: pool, "host": pool}
    labels = [{"name": name, "value": value} for name, value in said.items()]
    details = {"message": "2 CPUs, not 4"} if status == "failed" else {}
    return {
        "uuid": f"{pool}-{status}",
        "historyId": f"C01-{pool}",
        "testCaseId": "C01",
        "fullName": "C01",
        "name": "C01 every vCPU comes online",
        "status": status,
        "statusDetails": details,
        "stage": "finished",
        "start": 1_700_000_000_000,
        "stop": 1_700_000_001_000,
        "labels": labels,
        "parameters": [{"name": POOL, "value": pool}],
    }


def run_of(folder: Path, pool: str, status: str) -> Path:
    results = folder / "20260301-200000-run" / "results"
    results.mkdir(parents=True)
    (results / f"{pool}-result.json").write_text(json.dumps(result(pool, status)))
    return folder


def test_the_cells_of_one_image_and_release_are_columns_of_one_page(tmp_path):
    place = Place(str(tmp_path / "nights"))
    cells = [
        {"name": f"{host}/bios/x/none", "page": "bios/x/none", "host": host, "why": "", "priority": 0}
        for host in ("el9", "esxi8", "ws2019")
    ]
    said = {"night": "n-1", "lab": "lab", "begun": "…", "until": "…", "cells": cells, "left_out": []}
    place.put_night("n-1", said)
    for pool, status in (("el9", "passed"), ("esxi8", "failed")):
        place.begin("n-1", f"{pool}/bios/x/none", 1, {"worker": "w"})
        told = {"status": "done", "exit": 0, "why": "", "worker": "w", "counts": {"tests": 1}}
        place.end("n-1", f"{pool}/bios/x/none", 1, run_of(tmp_path / pool, pool, status), told)
    done = CliRunner().invoke(interop, ["report", str(tmp_path / "nights" / "n-1"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"report: {tmp_path / 'out' / 'index.html'} (3 cells: 2 done, 1 unreached; 1 pages)\n"
    table = (tmp_path / "out" / "index.html").read_text()
    assert table.count('<a href="bios/x/none/matrix.html">') == 3
    side = (tmp_path / "out" / "bios" / "x" / "none" / "matrix.html").read_text()
    assert all(words in side for words in ("el9", "esxi8", "every vCPU comes online", "2 CPUs, not 4"))
    (line,) = (tmp_path / "bios-x-none-history.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "n-1 bios/x/none"
    assert len(json.loads(line)["testResults"]) == 2
    assert (tmp_path / "out/bios/x/none/index.html").stat().st_size > 100_000
