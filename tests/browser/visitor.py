"""A browser of somebody, in which nothing may go wrong unseen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Playwright, Request, Response, WebError

from tests.browser.server import PASSWORD

CHROMIUM: Final = Path("/usr/bin/chromium")
DESKTOP: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 390, "height": 844}

_WATCH: Final = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`against the policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
for (const name of ["alert", "confirm", "prompt", "print"]) {
  window[name] = (...words) => console.error("ran", name, words);
}
"""
_SETTLE: Final = """
async () => {
  // A browser has six connections to a server, which films may keep, half loaded, for as long as it likes: a picture
  // that then waits, or a film, is a sight too.
  const patiently = (work) => Promise.race([work, new Promise((done) => setTimeout(done, 1500))]);
  await document.fonts.ready;
  const inSight = (one) => one.getBoundingClientRect().top < innerHeight && one.getBoundingClientRect().height;
  const pictures = [...document.images].filter(inSight).map((one) => one.decode().catch(() => null));
  await patiently(Promise.all(pictures));
  const busy = (one) => one.readyState < 1 || one.networkState === HTMLMediaElement.NETWORK_LOADING;
  const films = [...document.querySelectorAll("video")].filter(inSight);
  for (const film of films) film.preload = "metadata";
  const enough = performance.now() + 1500;
  while (films.some(busy) && performance.now() < enough) await patiently(new Promise(requestAnimationFrame));
  await patiently(Promise.all(document.getAnimations()
    .filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished.catch(() => null))));
  for (let i = 0; i < 3; i++) await patiently(new Promise(requestAnimationFrame));
}"""


def launch(playwright: Playwright) -> Browser:
    """Debian's Chromium, which knows no host but this one."""
    options = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--force-color-profile=srgb"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=CHROMIUM, args=options)


class Visitor:
    """A browser context with one page of the site at `url`.

    `faults` gathers what nobody wants: errors of scripts and on the console, breaches of the policy, dialogs of the
    browser's own, answers of 400 and more, requests that leave the site. What a test provokes, it says with `expect`.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.faults: list[str] = []
        self._expected: list[str] = []
        self.context = browser.new_context(base_url=url, **{"viewport": DESKTOP, "locale": "en-GB"} | options)
        self.context.set_default_timeout(60_000)
        if options.get("java_script_enabled", True):
            self.context.add_init_script(_WATCH)
        self.context.on("console", self._heard)
        self.context.on("weberror", self._failed)
        self.context.on("dialog", self._asked)
        self.context.on("request", self._left)
        self.context.on("response", self._answered)
        self.page: Page = self.context.new_page()

    def expect(self, *patterns: str) -> None:
        """Faults that match one of these are meant."""
        self._expected += patterns

    @property
    def unexpected(self) -> list[str]:
        return [fault for fault in self.faults if not any(re.search(known, fault) for known in self._expected)]

    def close(self) -> None:
        """Close it; nothing may have gone wrong."""
        self.context.close()
        assert self.unexpected == []

    def go(self, path: str) -> Response:
        """Open a page of the site."""
        response = self.page.goto(path, wait_until="load")
        assert response is not None
        return response

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        """Log in without the page."""
        answer = self.context.request.post(
            "/login", form={"username": name, "password": password}, headers={"Origin": self.url}, max_redirects=0
        )
        assert answer.status == 303, answer.text()

    def settle(self) -> None:
        """Wait until what is in sight has its pictures and nothing moves."""
        self.page.evaluate(_SETTLE)

    def _heard(self, message: ConsoleMessage) -> None:
        # Of an answer of 400 and more the console says less than `_answered` knows.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"console: {message.text}")

    def _failed(self, error: WebError) -> None:
        self.faults.append(f"script: {error.error}")

    def _asked(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _left(self, request: Request) -> None:
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.faults.append(f"left the site: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} {urlsplit(response.url).path}")
