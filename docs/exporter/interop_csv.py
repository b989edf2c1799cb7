"""An exporter: a row a result, added to a file that a spreadsheet opens. `pytest --export csv=nights.csv` calls it."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import LabError

COLUMNS = ("at", "check", "pool", "host", "build", "kernel", "release", "status", "duration")


def export(results: Sequence[Mapping[str, Any]], target: str) -> str:
    """Add the results to the file that the user named."""
    path = Path(target or "results.csv")
    try:
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            if fresh:
                rows.writerow(COLUMNS)
            rows.writerows([result[column] for column in COLUMNS] for result in results)
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}", hint="name another: --export csv=FILE") from error
    return f"{len(results)} rows in {path}"
