"""A real Chromium, driven over its debugging pipe: open pages, click, type, look, take pictures."""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

from patience import until

ANSWER_S = 30.0
PHONE = (390, 844)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--no-first-run", "--disable-component-update", "--disable-sync", "--disable-quic",
    "--hide-scrollbars", "--remote-debugging-pipe",
]  # fmt: skip
#: What the developer tools call a message that is no mere information.
LOUD = {"error", "warning", "assert"}


class Chromium:
    """The browser; use it as a context manager."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to descriptor 4, wherever the pipes are.
        start = f'exec chromium "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", start, "chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._ids = itertools.count(1)
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def tab(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> Tab:
        """Open a tab of this size, with cookies of its own."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        made = self.ask("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.ask("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        tab = Tab(self, attached["sessionId"], context)
        self._tabs[attached["sessionId"]] = tab
        tab.prepare(width, height, dark=dark)
        return tab

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command; return its result."""
        number = next(self._ids)
        self._answers[number] = replies = queue.Queue()
        words: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            words["sessionId"] = session
        os.write(self._out, json.dumps(words).encode() + b"\0")
        answer = replies.get(timeout=ANSWER_S)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _read(self) -> None:
        rest = b""
        while data := os.read(self._in, 1 << 20):
            *messages, rest = (rest + data).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    if waiting := self._answers.pop(message["id"], None):
                        waiting.put(message)
                elif tab := self._tabs.get(message.get("sessionId")):
                    tab.notice(message["method"], message["params"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._out)


class Tab:
    """One page.

    Attributes:
        complaints: errors and warnings of the console, breaches of the security policy among them,
            and requests that failed or went to another place.
    """

    def __init__(self, browser: Chromium, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def prepare(self, width: int, height: int, *, dark: bool) -> None:
        """Set the size and the colour scheme, and have the console reported."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def resize(self, width: int, height: int) -> None:
        """Give the page another size."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to the page."""
        return self._browser.ask(method, self._session, **params)

    def notice(self, method: str, params: dict[str, Any]) -> None:
        """Keep what the page complains about."""
        if method == "Log.entryAdded" and params["entry"]["level"] in LOUD:
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in LOUD:
            self.complaints.append(str([arg.get("value") for arg in params["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception")))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def go(self, url: str) -> None:
        """Load a page, and wait until its scripts have begun."""
        self.ask("Page.navigate", url=url)
        until(lambda: self.run("document.readyState") == "complete", within_s=ANSWER_S)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        done = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str, within_s: float = 15.0) -> None:
        """Wait until an expression is true; a page that is loading meanwhile has none."""
        # An element would come back as an empty object, which is true only in the page.
        expression = f"(() => {{ try {{ return !!({script}) }} catch {{ return false }} }})()"
        until(lambda: self.run(expression), within_s)

    def text(self, selector: str = "body") -> str:
        """Return what a person reads in an element; empty if there is none."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def click(self, selector: str) -> None:
        """Click an element as a mouse does."""
        where = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); "
            "const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask(
                "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, such as Tab or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def close(self) -> None:
        """Close the tab, and forget its cookies."""
        self._browser.ask("Target.disposeBrowserContext", browserContextId=self._context)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Take a picture of the page, or of what is in view."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))
