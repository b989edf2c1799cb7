"""Who may come in: accounts, in the form that the security library reads, and Basic's check."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from pathlib import Path


class Accounts:
    r"""The accounts of all WS-Man servers of this process: pyspnego reads one file, named by the environment.

    A name may be ``user``, ``DOMAIN\user`` or ``user@domain``. Names without a domain are local: they are also known
    with the host's name, or a dot, in front.

    Args:
        passwords: by name.
        file: where the security library finds them; made readable for its owner alone.
        host: the host's name, which clients may put before a local account's.
    """

    def __init__(self, passwords: Mapping[str, str], file: Path, host: str) -> None:
        self._passwords = {name.casefold(): password for name, password in passwords.items()}
        self._host = host.casefold()
        lines: list[str] = []
        for name, password in passwords.items():
            if "\n" in password or ":" in password or ":" in name:
                raise ValueError(f"the account {name!r} or its password holds a colon or a line end")
            domain, slash, user = name.rpartition("\\")
            domains = (domain,) if slash or "@" in name else ("", host, ".")
            lines.extend(f"{each}:{user}:{password}\n" for each in domains)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.writelines(lines)
        os.environ["NTLM_USER_FILE"] = str(file)

    def accepts(self, name: str, password: str) -> bool:
        """Whether the account exists and this is its password."""
        known = self._passwords.get(self.canonical(name))
        return known is not None and hmac.compare_digest(known.encode(), password.encode())

    def canonical(self, name: str) -> str:
        """One spelling for all the ways to write an account's name: quotas count users by it."""
        folded = name.casefold()
        domain, slash, user = folded.rpartition("\\")
        return user if slash and domain in {"", ".", self._host} else folded
