"""docs/screenshots: every page, light and dark, at a desk and on a phone. `make screenshots` writes them."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.server import ROOT
from tests.browser.visitor import DESKTOP, PHONE, Visitor, launch
from tests.browser.world import World, pages

FOLDER = ROOT / "docs" / "screenshots"
LARGEST = 50_000
"""Bytes of a picture."""


def main(folder: Path = FOLDER, *wanted: str) -> None:
    """Write those of the pages with these names; without names, all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as site, sync_playwright() as playwright:
        world = World(Path(site))
        with world.server.store() as db:
            db.execute(
                "UPDATE webhook_endpoints SET url = replace(url, ?, 'https://studio.example.com')",
                (world.upstream.url,),
            )
        browser = launch(playwright)
        try:
            session = _logged_in(browser, world)
            for name, path in pages(world.places).items():
                if not wanted or name in wanted:
                    _take(browser, world, session, name, path, folder)
        finally:
            browser.close()
            world.stop()


def _logged_in(browser: Browser, world: World) -> list[Any]:
    """The cookies of the one session that all pages are seen in."""
    visitor = Visitor(browser, world.server.url)
    visitor.log_in("admin")
    cookies = visitor.context.cookies()
    visitor.close()
    return list(cookies)


def _take(browser: Browser, world: World, session: list[Any], name: str, path: str, folder: Path) -> None:
    for device, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        visitor = Visitor(
            browser, world.server.url, viewport=viewport, device_scale_factor=1 if device == "desktop" else 1.5,
            has_touch=device == "phone", is_mobile=device == "phone", reduced_motion="reduce",
        )  # fmt: skip
        if name != "login":
            visitor.context.add_cookies(session)
        visitor.page.emulate_media(color_scheme="light")
        visitor.go(path)
        for looks in ("light", "dark"):
            visitor.page.emulate_media(color_scheme=looks)
            visitor.settle()
            (folder / f"{name}-{device}-{looks}.webp").write_bytes(_packed(visitor.page.screenshot()))
        visitor.close()


def _packed(png: bytes) -> bytes:
    """The picture as WebP, as good as the room allows."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (75, 65, 55, 45, 35, 25):
        packed = io.BytesIO()
        picture.save(packed, "WEBP", quality=quality, method=6)
        if packed.tell() <= LARGEST:
            break
    return packed.getvalue()


if __name__ == "__main__":
    main(FOLDER, *sys.argv[1:])
