"""A headless Chromium that tests can look into and act on, by the DevTools protocol over two pipes."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Without these a headless Chromium looks up its maker's hosts; none of them changes how a page is shown.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]
KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
KEYS |= {"ArrowDown": 40}


class Browser:
    """One tab. `told` holds every error and message of its console."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.loaded = False
        self.number = 0
        self.session: str | None = None

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        self.profile = tempfile.mkdtemp()
        # Chromium reads from 3 and writes to 4: ours must be none of these before they are put there.
        pipes = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (*os.pipe(), *os.pipe())]

        def put() -> None:
            os.dup2(pipes[0], 3)
            os.dup2(pipes[3], 4)

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=put,
        )
        os.close(pipes[0])
        os.close(pipes[3])
        self.input, self.output = os.fdopen(pipes[1], "wb"), os.fdopen(pipes[2], "rb")
        self.rest = b""
        tabs = self.send("Target.getTargets")["targetInfos"]
        target = next(tab["targetId"] for tab in tabs if tab["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.input.close()
        self.output.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method: str, **params: Any) -> Any:
        """The answer to a command. AssertionError where it is an error."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        self.input.write(json.dumps(message).encode() + b"\0")
        self.input.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            found = os.read(self.output.fileno(), 1 << 20)
            assert found, "Chromium has ended"
            self.rest += found
        text, self.rest = self.rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        if message.get("method") == "Page.loadEventFired":
            self.loaded = True
        elif message.get("method") in (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
        ):
            self.told.append(json.dumps(message["params"]))
        return message

    def open(self, path: Path, width: int = 1440, *, fragment: str = "", script: bool = True) -> None:
        """Loads a page at a width in CSS pixels."""
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.resize(width)
        for url in (
            "about:blank",
            f"file://{path}{fragment}",
        ):  # another fragment alone would not load it again
            self.loaded = False
            self.send("Page.navigate", url=url)
            while not self.loaded:
                self._read()

    def resize(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def media(self, kind: str = "", scheme: str = "light") -> None:
        """As `screen` or as `print`, in light or dark colours."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=kind, features=features)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page; with `await`, of what it promises."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as a user presses it."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def picture(self, out: Path) -> None:
        """Of what is in sight."""
        out.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
