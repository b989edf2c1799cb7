"""Where Debian packages come from: the mirror that this machine's own apt uses, read when it is needed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness.core import Deadline, LabError
from harness.core.process import run

_PASSED_ON = re.compile(r"^Acquire::(https?::|Check-|Retries|ForceIPv4)", re.IGNORECASE)
_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")


def sources_for(suite: str, root: Path = Path("/etc/apt")) -> str | None:
    """The stanzas of this machine's apt sources that offer ``suite``, its updates and security fixes.

    Both of apt's formats are read. On a machine of another release its mirror is asked for ``suite`` instead.

    Returns:
        Text for mmdebstrap (deb822), or None where apt has no Debian source: mmdebstrap then uses its own default.
    """
    stanzas = [stanza for path in _files(root) for stanza in _stanzas(path)]
    offered = [stanza for stanza in (_only(stanza, suite) for stanza in stanzas) if stanza]
    if not offered:
        mirrors = dict.fromkeys(uri for stanza in stanzas for uri in stanza.get("uris", "").split() if _is_main(uri))
        offered = [{"types": "deb", "uris": uri, "suites": suite, "components": "main"} for uri in mirrors]
    text = "\n\n".join("\n".join(f"{key.title()}: {value}" for key, value in stanza.items()) for stanza in offered)
    return text + "\n" if text else None


def sources_of(suite: str, root: Path = Path("/etc/apt")) -> str:
    """One suite as apt source (deb822), from the mirror that this machine's own apt uses; its signature must verify.

    A suite that this machine does not use itself (``bookworm-backports``) is looked for beside those of its Debian
    mirror, with the same keys.

    Raises:
        LabError: apt knows no mirror of Debian here.
    """
    stanzas = [stanza for path in _files(root) for stanza in _stanzas(path)]
    ours = [stanza for stanza in (_only(stanza, suite.partition("-")[0]) for stanza in stanzas) if stanza]
    offered = [stanza | {"suites": suite} for stanza in ours if suite in stanza["suites"].split()]
    if not offered:
        offered = [stanza | {"suites": suite} for stanza in ours if _is_main(stanza["uris"])]
    if not offered:
        known = {"types": "deb", "suites": suite, "components": "main"}
        mirrors = dict.fromkeys(uri for stanza in stanzas for uri in stanza.get("uris", "").split() if _is_main(uri))
        if not mirrors:
            raise LabError(
                f"no mirror of Debian is known here, and {suite} is wanted",
                operation="apt",
                hint=f"name one below {root}, by a line as `deb https://MIRROR/debian {suite} main`",
            )
        offered = [known | {"uris": " ".join(mirrors)}]
    keys = next((stanza["signed-by"] for stanza in stanzas if "signed-by" in stanza), None)
    text = ""
    for stanza in offered:
        checked = {key: value for key, value in stanza.items() if key != "trusted"}
        if keys:
            checked.setdefault("signed-by", keys)
        text += "\n".join(f"{key.title()}: {value}" for key, value in checked.items()) + "\n\n"
    return text


def _is_main(uri: str) -> bool:
    return uri.rstrip("/").endswith("/debian")


def options(deadline: Deadline) -> list[str]:
    """This machine's apt settings that decide whether a mirror can be reached: proxies, certificates, date checks."""
    if not shutil.which("apt-config"):
        return []
    lines = run(["apt-config", "dump"], deadline.sooner(30)).decode("utf-8", "replace").splitlines()
    return [line.rstrip(";") for line in lines if _PASSED_ON.match(line) and not line.endswith('"";')]


def _files(root: Path) -> list[Path]:
    parts = root / "sources.list.d"
    return [
        path
        for path in [root / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
        if path.is_file()
    ]


def _stanzas(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    if path.suffix == ".sources":
        return [_deb822(block) for block in re.split(r"\n\s*\n", "\n".join(lines)) if block.strip()]
    found = [match for match in map(_ONE_LINE.match, (line.strip() for line in lines)) if match]
    return [_one_line(match) for match in found]


def _deb822(block: str) -> dict[str, str]:
    stanza: dict[str, str] = {}
    key = ""
    for line in block.splitlines():
        if line[:1].isspace() and key:
            stanza[key] += "\n" + line
        elif ":" in line:
            key, value = line.split(":", 1)
            key = key.strip().lower()
            stanza[key] = value.strip()
    return stanza


def _one_line(match: re.Match[str]) -> dict[str, str]:
    stanza = {
        "types": "deb",
        "uris": match["uri"],
        "suites": match["suite"],
        "components": match["components"].strip(),
    }
    options_given = dict(part.split("=", 1) for part in (match["options"] or "").split() if "=" in part)
    return stanza | {key: options_given[key] for key in ("signed-by", "trusted") if key in options_given}


def _only(stanza: dict[str, str], suite: str) -> dict[str, str] | None:
    """The stanza cut down to what belongs to ``suite``, without source packages and other components."""
    wanted = [name for name in stanza.get("suites", "").split() if name.split("-")[0].split("/")[0] == suite]
    if not wanted or "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() == "no":
        return None
    if "main" not in stanza.get("components", "").split():
        return None
    return {
        key: value
        for key, value in {**stanza, "types": "deb", "suites": " ".join(wanted), "components": "main"}.items()
        if key in ("types", "uris", "suites", "components", "signed-by", "trusted")
    }
