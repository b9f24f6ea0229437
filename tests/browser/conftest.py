"""Chromium, and the site that it visits: `make browser-test` sets REELGATE_BROWSER, and without it nothing is collected
here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.visitor import Visitor
    from tests.browser.world import World

collect_ignore_glob = [] if "REELGATE_BROWSER" in os.environ else ["test_*.py"]

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"

EVIL = (
    "</script><script>window.hurt=1</script>\"'><img src=x onerror=window.hurt=2><svg onload=window.hurt=3>"
    "<a href=javascript:window.hurt=4>{{7*7}}"
)
"""What runs wherever a text is taken for HTML."""

Visit = Callable[..., "Visitor"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    from tests.browser.visitor import launch

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site in which much has happened. All tests share it: each makes users of its own for what it changes."""
    from tests.browser.world import World

    world = World(tmp_path_factory.mktemp("site"), models=("cinema-3", EVIL), said=EVIL, fps=8)
    yield world
    world.stop()


@pytest.fixture
def visit(browser: Browser, world: World) -> Iterator[Visit]:
    """`visit("anna")` is a browser in which anna, a member who is made where she is missing, is logged in; `visit()`
    one in which nobody is. At the end nothing may have gone wrong in any of them."""
    from tests.browser.visitor import Visitor

    visitors: list[Visitor] = []

    def start(name: str | None = None, **options: Any) -> Visitor:
        visitor = Visitor(browser, world.server.url, **options)
        visitors.append(visitor)
        if name is not None:
            world.known(name)
            visitor.log_in(name)
        return visitor

    yield start
    for visitor in visitors:
        visitor.context.close()
    faults = {number: visitor.unexpected for number, visitor in enumerate(visitors) if visitor.unexpected}
    assert faults == {}, world.server.log[-20_000:] if "500 " in str(faults) else ""


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm is missing here")
    return AXE.read_text("utf-8")
