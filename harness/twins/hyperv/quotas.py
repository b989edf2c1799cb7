"""How much of a host one may use: WinRM's configuration, with the values a fresh Windows Server has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits and time-outs.

    Args:
        envelope_kb: ``MaxEnvelopeSizekb``: the largest request.
        shells_per_user: ``MaxShellsPerUser``.
        users: ``MaxConcurrentUsers``.
        commands_per_shell: ``MaxProcessesPerShell``: those that nobody has signalled to end count.
        operations_per_shell: ``MaxConcurrentOperationsPerUser``; a command spends one, only a new shell gives it back.
        idle_seconds: ``IdleTimeout``: a shell that nobody uses so long ends, unless it was created with another.
        lifetime_seconds: ``MaxShellRunTime``: a shell ends after that, used or not; None: never.
        operation_seconds: ``MaxTimeoutms``: the longest that one request may take.
        connection_idle_seconds: http.sys ends a connection that says nothing for so long.
    """

    envelope_kb: int = 500
    shells_per_user: int = 30
    users: int = 10
    commands_per_shell: int = 25
    operations_per_shell: int = 1500
    idle_seconds: float = 7200.0
    lifetime_seconds: float | None = None
    operation_seconds: float = 60.0
    connection_idle_seconds: float = 120.0
