"""The three families of failure, so that a report can say whose fault it was.

A plain ``AssertionError`` is the third family: the product under test did not keep its promise.
"""


class InteropError(Exception):
    """Base of every error the harness raises on purpose.

    Args:
        message: what was wanted and what was seen.
        host: the lab's name of the hypervisor host concerned, if any.
        operation: the verb that failed (``create``, ``publish``, ``virDomainCreate`` ...), if any.
        hint: what the reader can do next, as one sentence.
    """

    def __init__(
        self, message: str, *, host: str | None = None, operation: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.host = host
        self.operation = operation
        self.hint = hint

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.host, self.operation) if part)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class LabError(InteropError):
    """The lab's fault: host, network, credentials, disk space. Never the product under test."""


class UsageError(LabError):
    """Bad input by the user: a lab file, an image recipe, an option. Carries file and line in its message."""


class GuestError(InteropError):
    """The guest's fault: it panicked, hung, or never booted. Evidence is attached by whoever reports it."""
