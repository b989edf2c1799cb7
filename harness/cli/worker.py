"""``interop worker``: work on the nights of a lab, beside any number of others."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import click

from harness.core import UsageError
from harness.lab.load import DEFAULT, load_lab
from harness.nights.load import load_night
from harness.nights.queue import make_app


@click.command("worker")
@click.option(
    "--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose nights; it has a `database`."
)
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Cells at once, each on another host."
)
@click.option(
    "--night", "nights", multiple=True, metavar="NAME|FILE", help="Begin this night when its schedule says so."
)
@click.option("--once", is_flag=True, help="End when there is nothing to take.")
def command(lab: str, jobs: int, nights: tuple[str, ...], once: bool) -> None:
    """Work on the nights of a lab, beside any number of others.

    Cells are taken off the lab's queue and run as `pytest` would run them here, a host's one after another, whichever
    worker has them. Any number of workers may keep the same schedule: a night begins once. SIGTERM and Ctrl-C stop what
    runs as Ctrl-C stops pytest, keep its results, and leave the cells to others.
    """
    read = load_lab(lab)
    app = make_app(read)
    from harness.nights.work import Worker  # noqa: PLC0415 - the engine is an extra, and told of when it is missing

    scheduled = tuple(load_night(night) for night in nights)
    for night in scheduled:
        if night.lab.name != read.name:
            raise UsageError(f"{night.path}: its lab is {night.lab.name}, and this worker's is {read.name}")
        if not night.file.schedule:
            raise UsageError(f"{night.path} has no schedule", hint="`interop night start` begins it")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("procrastinate").setLevel(logging.WARNING)  # what it does each minute is no news
    worker = Worker(read, read.path, app, scheduled, jobs)

    async def work() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        await worker.run(once=once)

    asyncio.run(work())
    if worker.refused:
        hint = "give all controllers one version; or `interop night cancel`, and start it anew"
        raise UsageError(worker.refused, hint=hint)
