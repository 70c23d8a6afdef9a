"""A headless Chromium, driven over the DevTools protocol through two pipes; and a server that shows a site below a path."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise RuntimeError(f"None of {', '.join(NAMES)} is on the PATH. On Debian: apt-get install chromium.")
    return found


class Browser:
    """One tab."""

    def __init__(self, profile: pathlib.Path) -> None:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        to_us, to_it = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4; bash puts them there.
        command = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        chromium = [find_chromium(), *flags, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", str(to_it[0]), str(to_us[1]), *chromium],
            pass_fds=(to_it[0], to_us[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it[0])
        os.close(to_us[1])
        self._commands, self._answers = os.fdopen(to_it[1], "wb"), os.fdopen(to_us[0], "rb")
        self._numbers, self._session, self._rest = itertools.count(1), "", b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict:
        """Send a command and return its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        answer = self._next(lambda message: message.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self, wanted: Any) -> dict:
        while True:
            while b"\0" not in self._rest:
                read = self._answers.read1()
                if not read:
                    raise RuntimeError("Chromium has ended.")
                self._rest += read
            text, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(text)
            if wanted(message):
                return message

    def look(self, width: int, scheme: str) -> None:
        """Show pages with a width in pixels, light or dark."""
        height, mobile = (844, True) if width < 600 else (900, False)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Open a page and wait until it is there, with fonts and pictures."""
        self.ask("Page.navigate", url=url)
        self._next(lambda message: message.get("method") == "Page.loadEventFired")
        self.run("document.fonts.ready.then(() => true)")

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def save(self, path: pathlib.Path, *, whole: bool = False) -> None:
        """Save a picture of the screen, or of the whole page."""
        picture = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        self.ask("Page.close")
        self._commands.close()
        self._process.wait(20)
        self._answers.close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files below a path, and 404.html for what is not there, as hosts of static pages do."""

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix(self.prefix) if path.startswith(self.prefix) else "/missing")

    def send_error(self, code: int, *args: Any, **kwargs: Any) -> None:
        page = pathlib.Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@contextlib.contextmanager
def serving(folder: pathlib.Path, prefix: str, port: int) -> Iterator[None]:
    """Serve a folder below a path of this machine."""
    handler = functools.partial(_Handler, directory=str(folder), prefix=prefix)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


_ASK = """(() => {
    const box = document.querySelector("[data-md-component=search-query]");
    document.querySelector(".md-search-result__meta").textContent = "";
    box.focus();
    box.value = %s;
    box.dispatchEvent(new Event("keyup", {bubbles: true}));
})()"""
_FOUND = """(() => {
    const links = [...document.querySelectorAll(".md-search-result__item > .md-search-result__link")];
    const meta = document.querySelector(".md-search-result__meta").textContent.trim();
    return [meta, links.map(link => new URL(link.href).pathname)];
})()"""


def search(browser: Browser, query: str) -> list[str]:
    """Return the paths of the pages that the search box of the open page finds, best first."""
    browser.run(_ASK % json.dumps(query))
    before = None
    for _ in range(100):
        now = browser.run(_FOUND)
        if now[0] and now == before:
            return now[1]
        before = now
        time.sleep(0.1)
    raise RuntimeError(f"The search for {query!r} found no end.")
