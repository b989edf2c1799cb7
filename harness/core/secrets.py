"""Secrets by reference: a file names where a secret is, never the secret itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from harness.core.errors import LabError

FORMS = "env:NAME, file:PATH or keyring:SERVICE/USER"
_REFERENCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00-\x1f]+|keyring:[^/\x00-\x1f]+/[^\x00-\x1f]+)$"
_LIMIT = 64 * 1024
_SECRET_BY_NAME = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|SECRET_ACCESS_KEY)$", re.IGNORECASE)
_LONG_ENOUGH = 8
_IN_ADDRESS = re.compile(r"://[^\s/@]*:[^\s/@]*@")
_listeners: list[Callable[[str], None]] = []


def without_password(address: str) -> str:
    """An address as it is, unless it holds a password: addresses stand in messages, results and command lines.

    Raises:
        ValueError: it does; the message never repeats it.
    """
    if _IN_ADDRESS.search(address):
        raise ValueError("a password never stands in an address")
    return address


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Have a function told every secret that this process fetches while the block runs, in whichever thread.

    So whoever writes what others read knows what must not stand there, and nobody can forget to say it.

    Args:
        listener: told a value each time it is fetched.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(value: str) -> None:
    """Say that a text is a secret; for those that no :class:`Secret` names, such as the password of a twin."""
    for listener in tuple(_listeners):
        listener(value)


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is kept. Printing or serialising one shows the place; only :meth:`reveal` fetches the value.

    Args:
        reference: ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``.

    Raises:
        ValueError: it is no reference; the message never repeats the text, which may be the secret itself.
    """

    reference: str

    def __post_init__(self) -> None:
        if not re.fullmatch(_REFERENCE, self.reference):
            raise ValueError(f"a secret is named, never written here: use {FORMS}")

    def reveal(self) -> str:
        """Fetch the value now. A file's final line break is not part of it.

        Raises:
            LabError: the variable, file or keyring entry is not there, or empty.
        """
        scheme, _, place = self.reference.partition(":")
        value = {"env": _from_environment, "file": _from_file, "keyring": _from_keyring}[scheme](place)
        if not value:
            raise LabError(f"the secret {self.reference} is empty", operation="secret")
        tell(value)
        return value

    @property
    def asks_nobody(self) -> bool:
        """Whether fetching it asks no other program: a keyring may want to be unlocked, and then waits for somebody."""
        return not self.reference.startswith("keyring:")

    def __str__(self) -> str:
        return self.reference

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Strict models read a reference, and write it back as such."""
        return unrepeated(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A string of one of the three forms."""
        return {"type": "string", "pattern": _REFERENCE, "title": "secret", "examples": ["env:LAB_PASSWORD"]}


def of_environment() -> list[str]:
    """What variables hold whose names say that it is a secret: credentials of exporters and of stores of results."""
    found = [value for name, value in os.environ.items() if _SECRET_BY_NAME.search(name)]
    return [value for value in found if len(value) >= _LONG_ENOUGH]


def unrepeated(cls: type[Any]) -> CoreSchema:
    """How strict models read a class that is made of one text, which may hold a secret: no error shows that text.

    Args:
        cls: makes a value of a text, and raises ValueError with a message that does not repeat it; ``str`` of the value
            is what is written back.
    """

    def read(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        try:
            return cls(value if isinstance(value, str) else "")
        except ValueError as error:
            raise PydanticCustomError("secret", "{problem}", {"problem": str(error)}) from None

    return core_schema.no_info_plain_validator_function(read, serialization=core_schema.to_string_ser_schema())


def _from_environment(name: str) -> str:
    if name not in os.environ:
        raise LabError(
            f"the environment variable {name} is not set", operation="secret", hint=f"export {name} before the run"
        )
    return os.environ[name]


def _from_file(place: str) -> str:
    path = Path(place).expanduser()
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise LabError(f"the secret file {path} cannot be read: {error.strerror}", operation="secret") from error
    except UnicodeDecodeError:
        raise LabError(f"the secret file {path} is not UTF-8 text", operation="secret") from None
    if len(raw) > _LIMIT:
        raise LabError(f"the secret file {path} is larger than {_LIMIT} bytes", operation="secret")
    return text.removesuffix("\n").removesuffix("\r")


def _from_keyring(place: str) -> str:
    service, _, user = place.partition("/")
    try:
        import keyring  # noqa: PLC0415 - an extra: only labs that name a keyring need it
        import keyring.errors  # noqa: PLC0415
    except ImportError as error:
        raise LabError(
            "the keyring library is not installed", operation="secret", hint="pip install 'interop-harness[keyring]'"
        ) from error
    try:
        value = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise LabError(f"the keyring refused {service}/{user}: {error}", operation="secret") from error
    if value is None:
        raise LabError(
            f"the keyring has nothing under {service}/{user}",
            operation="secret",
            hint=f"keyring set {service} {user}",
        )
    return value
