"""Kerberos tickets for a host: from the keytab, the cache or the password that its lab file names.

GSSAPI takes keytab and cache as arguments (the credential store extension of MIT krb5), so that hosts and threads of
one process share nothing, and makes tickets of a keytab anew whenever the old ones are half spent.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

import gssapi
from gssapi.raw import ChannelBindings, GSSError, acquire_cred_with_password

from harness.backends.hyperv.settings import Settings
from harness.core import LabError

MARGIN_SECONDS: Final = 300.0
"""A login whose ticket ends within that is made anew, and a ticket of a cache renewed."""

_KINIT_SECONDS: Final = 30.0
_KRB5: Final = gssapi.MechType.kerberos
_FLAGS: Final = (
    gssapi.RequirementFlag.mutual_authentication
    | gssapi.RequirementFlag.confidentiality
    | gssapi.RequirementFlag.integrity
    | gssapi.RequirementFlag.out_of_sequence_detection
    | gssapi.RequirementFlag.replay_detection
)

# Minor codes of MIT krb5 (krb5.h: ERROR_TABLE_BASE_krb5 is -1765328384), each with the one thing to do about it.
_BASE: Final = -1765328384
_HINTS: Final = {
    _BASE + 6: "the realm's KDC does not know `user:`; write it as name@REALM",
    _BASE + 7: "the KDC knows no such service: write `spn:` as `setspn -L HOST` on a domain controller has it, or "
    "`endpoint:` as the host's full name",
    _BASE + 18: "the account is locked or has expired: see it on a domain controller",
    _BASE + 23: "the account's password has expired",
    _BASE + 24: "the keytab or password is not of this account's present key: make the keytab anew",
    _BASE + 32: "the ticket has expired: get another (`kinit`), or name a `keytab:`, of which tickets are made",
    _BASE + 37: "compare the clocks of this machine and of the domain controller: Kerberos takes five minutes at most",
    _BASE + 152: "which KDC serves the realm is not known: see /etc/krb5.conf, or the domain's DNS",
    _BASE + 156: "no KDC answers: see /etc/krb5.conf, and that port 88 of a domain controller can be reached",
    _BASE + 181: "the keytab has no key of `user:`; `klist -k FILE` shows what it has",
    _BASE + 195: "there is no such cache: get a ticket (`kinit -c FILE`), or name a `keytab:`",
    _BASE + 224: "which realm `user:` is in is not known: write it as name@REALM",
}
_EXPIRED: Final = 11 << 16  # GSS_S_CREDENTIALS_EXPIRED, RFC 2744
_NO_CREDENTIAL: Final = 7 << 16


class Tickets:
    """Who we are to a domain, for one host.

    Args:
        settings: the host's section of the lab file: account, keytab or cache, service.
        host: the lab's name of it.
    """

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings = settings
        self._host = host
        service, _, name = (settings.spn or "").partition("/")
        self.service = f"{service or 'HTTP'}@{name or settings.address[0].strip('[]')}"
        # Tickets made of a keytab stay in this process, apart from those of other hosts.
        self._own = f"MEMORY:interop-{secrets.token_hex(8)}"

    def context(self, bindings: ChannelBindings | None) -> gssapi.SecurityContext:
        """The beginning of a login.

        Raises:
            LabError: there is no ticket to be had; says why.
        """
        try:
            return gssapi.SecurityContext(
                name=gssapi.Name(self.service, gssapi.NameType.hostbased_service),
                creds=self._credentials(),
                flags=_FLAGS,
                mech=_KRB5,
                usage="initiate",
                channel_bindings=bindings,
            )
        except GSSError as error:
            raise self.explained(error) from error

    def explained(self, error: GSSError) -> LabError:
        """What GSSAPI says, as a lab error with the one thing to do about it."""
        hint = _HINTS.get(_signed(error.min_code))
        if hint is None and error.maj_code & 0xFF0000 == _EXPIRED:
            hint = _HINTS[_BASE + 32]
        elif hint is None and error.maj_code & 0xFF0000 == _NO_CREDENTIAL:
            hint = _HINTS[_BASE + 195]
        # Where the mechanism has nothing to say, its code is 0 or means nothing: the general words are better then.
        mechanism = [*error.get_all_statuses(error.min_code, False)]
        general = [*error.get_all_statuses(error.maj_code, True)]
        words = "; ".join(part for part in (mechanism or general) if part != "Success") or "; ".join(general)
        return LabError(
            f"no Kerberos login of {self._settings.user} at {self.service.replace('@', '/')}: {words}",
            host=self._host,
            operation="connect",
            hint=hint or "`KRB5_TRACE=/dev/stderr` before the command tells every step",
        )

    def _credentials(self) -> gssapi.Credentials:
        settings = self._settings
        name = gssapi.Name(settings.user, gssapi.NameType.kerberos_principal)
        if settings.keytab is not None:
            return _credentials(name, client_keytab=f"FILE:{settings.keytab.expanduser()}", ccache=self._own)
        password = settings.reveal()
        if password is not None:
            raw = acquire_cred_with_password(name, password.encode(), mechs=[_KRB5], usage="initiate").creds
            return gssapi.Credentials(raw)
        cache = settings.cache
        if cache is not None and ":" not in cache:
            cache = f"FILE:{Path(cache).expanduser()}"
        place = {} if cache is None else {"ccache": cache}
        found = _credentials(name, **place)
        if found.lifetime < MARGIN_SECONDS and self._renewed(cache):
            found = _credentials(name, **place)
        return found

    def _renewed(self, cache: str | None) -> bool:
        """Whether the KDC prolonged the cache's ticket; where it does not, what is left of it has to do."""
        kinit = shutil.which("kinit")
        if kinit is None:
            return False
        argv = [kinit, "-R", *(["-c", cache] if cache else []), str(self._settings.user)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(argv, capture_output=True, check=False, timeout=_KINIT_SECONDS)
            return done.returncode == 0
        return False


def _credentials(name: gssapi.Name, **store: str) -> gssapi.Credentials:
    places: dict[bytes | str, bytes | str] = dict(store.items())
    return gssapi.Credentials(name=name, usage="initiate", mechs=[_KRB5], store=places or None)


def _signed(code: int) -> int:
    """Minor codes are unsigned in GSSAPI, and signed in krb5.h."""
    return code - (1 << 32) if code >= 1 << 31 else code
