"""A browser that tests drive: headless Chromium, spoken to over two pipes in the DevTools protocol."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0  # seconds


class Browser:
    """One page of a running Chromium; `requests` are the addresses it asked for, `said` what the console said."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest, self._count = to, back, b"", 0
        self.requests: list[str] = []
        self.said: list[str] = []
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = ""
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self._send(f"{domain}.enable")

    def open(self, address: str, *, width: int = 1000, height: int = 900, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._send("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._send("Page.navigate", {"url": address})

    def value(self, expression: str) -> Any:
        """What JavaScript gives for it in the page."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self._send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} did not come true: {self.value('document.body.innerText')}"
            time.sleep(0.05)

    def choose_file(self, selector: str, path: Path) -> None:
        """As a user who picks a file."""
        root = self._send("DOM.getDocument")["root"]["nodeId"]
        node = self._send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self._send("DOM.setFileInputFiles", {"nodeId": node, "files": [str(path)]})

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        found = self._send("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        self._session = ""
        self._send("Browser.close")

    def _send(self, method: str, given: dict[str, Any] | None = None) -> Any:
        self._count += 1
        session = {"sessionId": self._session} if getattr(self, "_session", "") else {}
        message = {"id": self._count, "method": method, "params": given or {}, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event == "Log.entryAdded":
            self.said.append(about["entry"]["text"])
        elif event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.said.append(json.dumps(about))

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            part = os.read(self._back, 1 << 16)
            assert part, "the browser ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@pytest.fixture
def browser(tmp_path: Path, chromium: list[str]) -> Iterator[Browser]:
    there, to = os.pipe()
    back, here = os.pipe()
    command = [*chromium, "--remote-debugging-pipe", f"--user-data-dir={tmp_path / 'profile'}", "about:blank"]
    shell = f'exec "$@" 3<&{there} 4>&{here}'  # Chromium reads from 3 and writes to 4
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, "chromium", *command], pass_fds=(there, here), stderr=subprocess.DEVNULL
    )
    os.close(there)
    os.close(here)
    try:
        page = Browser(to, back)
        yield page
        page.close()
    finally:
        os.close(to)
        os.close(back)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
