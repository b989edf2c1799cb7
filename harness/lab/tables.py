"""The tables of a store, in the SQL that SQLite and PostgreSQL share; what they spell differently stands in braces."""

from __future__ import annotations

from collections.abc import Iterator

SQLITE = {"number": "INTEGER PRIMARY KEY AUTOINCREMENT", "moment": "REAL"}
POSTGRESQL = {
    "number": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "moment": "DOUBLE PRECISION",  # its REAL has 4 bytes: two minutes are the finest it can tell apart today
}

STEPS = (  # each takes a store of one version to the next; a new version appends a step and changes none
    """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, token TEXT NOT NULL, lab TEXT NOT NULL, lab_name TEXT NOT NULL,
    controller TEXT NOT NULL, started {moment} NOT NULL, heartbeat {moment} NOT NULL, expiry {moment} NOT NULL,
    ended {moment}, reaped {moment});
CREATE TABLE members (
    id TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id), pid INTEGER NOT NULL, started {moment} NOT NULL,
    ended {moment});
CREATE TABLE journal (
    id {number}, run TEXT NOT NULL REFERENCES runs(id), member TEXT NOT NULL,
    host TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, handle TEXT,
    intended {moment} NOT NULL, made {moment}, gone {moment});
CREATE INDEX journal_open ON journal(run, host) WHERE gone IS NULL;
CREATE TABLE leases (
    fence {number}, kind TEXT NOT NULL, domain TEXT NOT NULL, value TEXT NOT NULL,
    vcpus INTEGER NOT NULL DEFAULT 0, memory BIGINT NOT NULL DEFAULT 0, guests INTEGER NOT NULL DEFAULT 0,
    run TEXT NOT NULL, member TEXT NOT NULL, pid INTEGER NOT NULL, since {moment} NOT NULL, guest TEXT);
CREATE UNIQUE INDEX leases_exclusive ON leases(kind, domain, value) WHERE kind NOT IN ('capacity', 'activity');
CREATE TABLE waiting (
    ticket {number}, domain TEXT NOT NULL, what TEXT NOT NULL,
    run TEXT NOT NULL, member TEXT NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE kept (
    id TEXT PRIMARY KEY, lab TEXT NOT NULL, host TEXT NOT NULL, machine TEXT NOT NULL, run TEXT NOT NULL,
    until {moment} NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL, identity TEXT NOT NULL,
    known_hosts TEXT NOT NULL, account TEXT NOT NULL, why TEXT NOT NULL, kept {moment} NOT NULL);
""",
    """
CREATE TABLE IF NOT EXISTS warm (
    lab TEXT NOT NULL, host TEXT NOT NULL, machine TEXT NOT NULL, since {moment} NOT NULL,
    PRIMARY KEY (lab, host, machine));
ALTER TABLE runs ADD COLUMN lab_text TEXT NOT NULL DEFAULT '';
""",
    """
ALTER TABLE members ADD COLUMN heard {moment} NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN silence {moment} NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN until {moment};
CREATE TABLE cordons (
    lab TEXT NOT NULL, host TEXT NOT NULL, until {moment}, reason TEXT NOT NULL, who TEXT NOT NULL,
    since {moment} NOT NULL, PRIMARY KEY (lab, host));
UPDATE leases SET until = (SELECT until FROM kept WHERE kept.id = leases.guest) WHERE guest IS NOT NULL;
""",
)


def statements(version: int, words: dict[str, str]) -> Iterator[str]:
    """What takes a store of this version to the newest.

    Args:
        version: how many steps it has seen.
        words: :data:`SQLITE` or :data:`POSTGRESQL`.
    """
    for step in STEPS[version:]:
        yield from step.format(**words).strip().removesuffix(";").split(";\n")
