"""The database that controllers of a lab share, as a lab file names it: without its password, or by a secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from harness.core import LabError
from harness.core.secrets import FORMS, Secret, tell, unrepeated

_SCHEMES = ("postgresql", "postgres")
_LIKE = "postgresql://interop@db.example/interop"


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is. Printing one shows no password.

    Args:
        text: a PostgreSQL URL without a password (which libpq finds in `~/.pgpass`, as for every other program), or the
            reference of a secret that holds a whole URL.

    Raises:
        ValueError: it is neither; the message never repeats the text, which may hold a password.
    """

    text: str

    def __post_init__(self) -> None:
        if "://" not in self.text:
            try:
                Secret(self.text)
            except ValueError:
                raise ValueError(f"write it as {_LIKE}, or name the secret that holds it: {FORMS}") from None
            return
        parts = urlsplit(self.text)
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"write it as {_LIKE}: no other kind of database is shared")
        if parts.password or "password=" in parts.query:
            raise ValueError(f"a password never stands here: keep it in ~/.pgpass, or the whole URL in {FORMS}")

    def url(self) -> str:
        """The URL, password and all, fetched now.

        Raises:
            LabError: the secret is not there, or is no such URL.
        """
        if "://" in self.text:
            return self.text
        url = Secret(self.text).reveal()
        if urlsplit(url).scheme not in _SCHEMES:
            raise LabError(f"the secret {self.text} is no URL like {_LIKE}", operation="database")
        if password := urlsplit(url).password:
            tell(password)  # as the URL spells it, and as it is
            tell(unquote(password))
        return url

    @property
    def secret(self) -> Secret | None:
        """The secret that holds its URL; None where the URL stands in the file."""
        return None if "://" in self.text else Secret(self.text)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Strict models read the text, and write it back as such."""
        return unrepeated(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A string of one of the two forms."""
        pattern = r"^(postgres(ql)?://|env:|file:|keyring:).+"
        return {"type": "string", "pattern": pattern, "title": "database", "examples": [_LIKE]}
