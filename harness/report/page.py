"""The page speaks to nobody: analytics taken out, a content security policy put in, and a check that both held.

Allure's pages load Google Analytics whatever one sets. A lab's report names hosts and versions, and is opened in places
without a route out, so the page must make no request at all. Removing what is known is one half; the policy is the
other: with it the browser itself refuses every request, even one that hides in an attachment.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

# Scripts and styles are inline or data: URLs (a single file has no others); attachments are shown from data: and blob:.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data: blob:; style-src 'unsafe-inline' data: blob:; "
    "img-src data: blob:; font-src data:; media-src data: blob:; connect-src data: blob:; frame-src data: blob:; "
    "object-src 'none'; form-action 'none'"
)
HEAD = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="referrer" content="no-referrer">'

# Allure scrolls its first test into view, past title, figures and environment: nothing moves before the reader does.
_AT_TOP = """<script>
{
  let touched = location.hash.length > 1;
  for (const kind of ["wheel", "keydown", "pointerdown", "touchstart"])
    addEventListener(kind, () => { touched = true; }, { capture: true, once: true, passive: true });
  addEventListener("scroll", ({ target }) => {
    if (!touched) (target === document ? document.scrollingElement : target).scrollTop = 0;
  }, { capture: true });
}
</script>"""

# Allure's program starts before the results behind it have been read, and where there are none yet it asks the network
# instead, is refused, and shows an empty page. A place for them that is not ready is what it waits for.
_RESULTS_FOLLOW = "<script>window.allureReportDataReady = false; window.allureReportData = {};</script>"

# A tab that is always empty: verdicts are made in Python (Allure's quality gate exits alike for a crash and for a no).
_NO_GATE = '<style>[data-testid="nav-tab-qualityGate"] { display: none; }</style>'

# Where Allure has nothing: the middle of its top, or, where there is no room, of its bottom. Not where it is printed.
_BESIDE = """<style>
#beside { position: fixed; left: 50%; top: 8px; transform: translateX(-50%); z-index: 99; padding: 5px 14px;
  border-radius: 6px; background: #1d2127; color: #a3adb8; font: 14px/1.4 system-ui, sans-serif; white-space: nowrap; }
#beside a { color: #8ec1ff; }
@media (max-width: 900px) { #beside { top: auto; bottom: 8px; } }
@media print { #beside { display: none; } }
</style>"""

_OUTSIDE_SCRIPT = re.compile(r'<script\b[^>]*\ssrc="(?:https?:)?//[^"]*"[^>]*>\s*</script>', re.IGNORECASE)
_ANALYTICS_SCRIPT = re.compile(r"<script>\s*window\.dataLayer\b.*?</script>", re.DOTALL)
_ANALYTICS = re.compile(r"googletagmanager|google-analytics|\bgtag\(|\bdataLayer\b|G-LNDJ3J7WT0")

# Attributes that make a browser load something, by themselves; `href` of `a` and `area` needs a click.
_LOADING = frozenset({"src", "srcset", "data", "poster", "background", "href", "xlink:href", "action", "formaction"})
_CLICKED = frozenset({"a", "area"})
_STYLE_URL = re.compile(
    r"""url\(\s*["']?(?!data:|blob:|#|["']?\s*\))([^"')\s]+)|@import\s+["']([^"']+)""", re.IGNORECASE
)
_ADDRESS = re.compile(r"\b(?:https?|wss?)://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)", re.IGNORECASE)

# Addresses in the program of Allure 3.18.0 that are not requests: names of XML vocabularies, a base for parsing
# relative URLs, comments, and two links that are followed when clicked. A new one fails the check until looked at.
_HARMLESS = frozenset(
    {"www.w3.org", "localhost", "opensource.org", "lea.verou.me", "allurereport.org", "trace.playwright.dev"}
)


def harden(page: str, beside: Sequence[tuple[str, str]] = ()) -> str:
    """The page without analytics, with a policy that lets nothing out; it opens at its top, however slowly it is read.

    Args:
        page: Allure's.
        beside: pages that lie beside it, by file name and words, and that it links to.
    """
    page = _ANALYTICS_SCRIPT.sub("", _OUTSIDE_SCRIPT.sub("", page))
    if beside:
        links = " · ".join(f'<a href="{escape(name)}">{escape(words)}</a>' for name, words in beside)
        nav = f'{_BESIDE}<nav id="beside" aria-label="Pages beside this one">{links}</nav>'
        page = re.sub(r"<body[^>]*>", lambda found: found[0] + nav, page, count=1)
    # Directly behind <head>: a policy binds only what comes after it.
    return re.sub(r"<head>", f"<head>{HEAD}{_NO_GATE}{_AT_TOP}{_RESULTS_FOLLOW}", page, count=1)


def outside_requests(page: str) -> list[str]:
    """Whatever in the page could make a browser ask anyone for anything; empty for a page that is safe to publish."""
    scan = _Scan()
    scan.feed(page)
    scan.close()
    return list(dict.fromkeys(scan.found))


class _Scan(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._inside = ""
        self._policy_seen = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag == "meta":
            self._meta(values)
        elif not self._policy_seen and tag in ("script", "style", "link", "img", "iframe", "body"):
            self.found.append(f"<{tag}> stands before any content security policy")
            self._policy_seen = True  # once is enough
        if values.get("ping"):
            self.found.append(f"<{tag} ping={values['ping']}>")
        if "style" in values:
            self._style(values["style"], f"<{tag} style>")
        for name in _LOADING & values.keys():
            if not (name == "href" and tag in _CLICKED):
                self._loaded(tag, name, values[name].strip())

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._inside = ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self._style(data, "<style>")
        elif self._inside == "script":
            # Inline scripts carry the results, base64 or JSON; only the program itself is searched for addresses.
            self.found += [f"<script> speaks of {word}" for word in sorted(set(_ANALYTICS.findall(data)))]

    def _meta(self, values: dict[str, str]) -> None:
        kind = values.get("http-equiv", "").lower()
        if kind == "content-security-policy":
            self._policy_seen = self._policy_seen or values.get("content") == POLICY
            if values.get("content") != POLICY:
                self.found.append("the content security policy is not ours")
        elif kind == "refresh":
            self.found.append(f"<meta refresh {values.get('content', '')}>")

    def _loaded(self, tag: str, name: str, value: str) -> None:
        if value.startswith("data:"):
            self._program(tag, value)
        elif value and not value.startswith(("#", "blob:", "about:blank")):
            self.found.append(f"<{tag} {name}={value[:200]}>")

    def _program(self, tag: str, url: str) -> None:
        """A data: URL of a script or style is decoded and searched like an inline one."""
        kind, _, body = url.partition(",")
        if tag not in ("script", "link", "iframe", "object", "embed"):
            return
        try:
            content = base64.b64decode(body, validate=True) if kind.endswith(";base64") else unquote_to_bytes(body)
        except binascii.Error:
            self.found.append(f"<{tag}> has a data: URL that cannot be decoded")
            return
        code = content.decode("utf-8", "replace")
        self.found += [f"<{tag}> speaks of {word}" for word in sorted(set(_ANALYTICS.findall(code)))]
        hosts = {host.lower() for host in _ADDRESS.findall(code)} - _HARMLESS
        self.found += [f"<{tag}> knows the address of {host}" for host in sorted(hosts)]
        if "css" in kind:
            self._style(code, f"<{tag}>")

    def _style(self, code: str, where: str) -> None:
        self.found += [f"{where} loads {(first or second)[:200]}" for first, second in _STYLE_URL.findall(code)]
