"""Headless Chromium, spoken to through its DevTools pipe: no port to lease, no further library.

The protocol: https://chromedevtools.github.io/devtools-protocol/ ; over ``--remote-debugging-pipe`` Chromium reads
commands from descriptor 3 and writes answers to 4, each a JSON text that ends in a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

from harness.core import Deadline, LabError, Pending, wait_for
from harness.core.process import need

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--window-size=1440,900", "--remote-debugging-pipe"),
)
# No name resolves, and no address is reached: whatever asks anyway is seen as an event and fails.
_NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND"
_PATIENCE = 60.0
_DOMAINS = ("Page", "Network", "Runtime", "Log")
# Sandboxed frames live in processes and sessions of their own; they wait until somebody listens to them as well.
_FRAMES = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}


class Browser:
    """One tab of one Chromium with a profile of its own.

    Args:
        profile: a folder for it.
        reaching: the one address that it may ask, of a server of the test's own; without one, none.
    """

    def __init__(self, profile: Path, *, reaching: str = "") -> None:
        program = need("chromium", "chromium")
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        reach = f"{_NOWHERE} , EXCLUDE {reaching}" if reaching else _NOWHERE
        redirected = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", program, *_FLAGS, reach, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_commands, write_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_commands)
        os.close(write_answers)
        self.events: list[dict[str, Any]] = []
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in _DOMAINS:
            self.call(f"{domain}.enable")
        self.call("Target.setAutoAttach", **_FRAMES)

    def close(self) -> None:
        """End Chromium and all its children."""
        try:
            self._session = None
            self.call("Browser.close")
            self._process.wait(timeout=20)
        except (LabError, OSError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        number = self._send(method, params, self._session)
        deadline = Deadline.after(_PATIENCE)
        while (answer := self._receive(deadline)).get("id") != number:
            self.events.append(answer)
            if answer.get("method") == "Target.attachedToTarget" and self._session:
                self._listen(answer["params"]["sessionId"])
        if "error" in answer:
            raise LabError(f"{method}: {answer['error']}", operation="chromium")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Load a page, with nothing remembered of the one before."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=address)

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise LabError(f"{expression[:200]}: {answer['exceptionDetails']}", operation="chromium")
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What a reader sees of the first such element."""
        shown = self.run(f"document.querySelector({json.dumps(selector)})?.innerText")
        return str(shown or "")

    def wait_for_text(self, *words: str, selector: str = "body") -> str:
        """Wait until all words show; returns the whole text."""

        def shown() -> str | Pending:
            text = self.text(selector)
            missing = [word for word in words if word not in text]
            return Pending(f"without {missing}: {text[:2000]!r}") if missing else text

        return wait_for(f"{selector} to show {words}", shown, Deadline.after(_PATIENCE))

    def click(self, words: str, selector: str = "*") -> None:
        """Click the innermost visible element whose text begins with ``words``."""

        def clicked() -> bool | Pending:
            found = self.run(
                f"""(() => {{
                  const seen = [...document.querySelectorAll({json.dumps(selector)})]
                    .filter((one) => one.offsetParent && one.innerText?.trim().startsWith({json.dumps(words)}));
                  seen.at(-1)?.click();
                  return seen.length > 0;
                }})()"""
            )
            return True if found else Pending(f"{self.text()[:2000]!r}")

        wait_for(f"a {selector} that says {words!r}", clicked, Deadline.after(_PATIENCE))

    def screenshot(self, path: Path) -> None:
        """What the window shows now, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    @property
    def requests(self) -> list[str]:
        """Addresses the page and its frames asked for since it was opened; not what the page's policy refused.

        A sandboxed frame may ask before its session is listened to; but no name resolves here, so it fails, and that
        stands in the log, which is replayed to whoever listens late.
        """
        self.call("Runtime.evaluate", expression="0")  # collects what is waiting in the pipe
        refused = {
            (event["sessionId"], event["params"]["requestId"])
            for event in self.events
            if event.get("method") == "Network.loadingFailed" and event["params"].get("blockedReason") == "csp"
        }
        found = []
        for event in self.events:
            match event.get("method"):
                case "Network.requestWillBeSent" if (event["sessionId"], event["params"]["requestId"]) not in refused:
                    found.append(event["params"]["request"]["url"])
                case "Network.webSocketCreated":
                    found.append(event["params"]["url"])
                case "Log.entryAdded" if event["params"]["entry"]["source"] == "network":
                    found.append(event["params"]["entry"].get("url", ""))
        return found

    @property
    def problems(self) -> list[str]:
        """Errors of the page's own program, and what its security policy had to refuse."""
        self.call("Runtime.evaluate", expression="0")
        thrown = [str(event["params"]) for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        logged = [event["params"]["entry"] for event in self.events if event.get("method") == "Log.entryAdded"]
        return thrown + [entry["text"] for entry in logged if entry["level"] == "error"]

    def _send(self, method: str, params: dict[str, Any], session: str | None) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return self._number

    def _listen(self, session: str) -> None:
        for domain in _DOMAINS:
            self._send(f"{domain}.enable", {}, session)
        self._send("Target.setAutoAttach", _FRAMES, session)
        self._send("Runtime.runIfWaitingForDebugger", {}, session)

    def _receive(self, deadline: Deadline) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], deadline.seconds)
            data = os.read(self._answers, 1 << 20) if ready else b""
            if not data:
                said = "has gone" if ready else f"did not answer within {_PATIENCE:.0f} s"
                raise LabError(f"Chromium {said}", operation="chromium")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
