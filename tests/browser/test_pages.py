"""What holds for every page: anybody can use it, on any device, in both languages, and with no script at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.browser.world import World, pages

NAMES = tuple(pages(dict.fromkeys(("video", "failed", "key", "Editing suite", "mei"), "")))

_AXE = """async (part) => (await axe.run(document.querySelector(part), {
  resultTypes: ["violations"],
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})).violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) =>
  `${one.id}: ${one.nodes.map((node) => node.target.join(" ") + " " + (node.any[0]?.message ?? "")).join(" | ")}`)"""

_WIDE = """() => [document.documentElement.scrollWidth - document.documentElement.clientWidth,
  ...[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1
    && !one.closest(".chips, .shot-ground, pre, .scroll, .table thead, .unseen, .segment-row, svg, .copyable, option"))
    .map((one) => one.tagName + "." + one.className).slice(0, 5)]"""


@pytest.fixture(scope="module")
def session(browser: Any, world: World) -> list[Any]:
    """The cookies of one session of `admin`: nobody is slowed down by logging in for each page."""
    visitor = Visitor(browser, world.server.url)
    visitor.log_in("admin")
    cookies = visitor.context.cookies()
    visitor.close()
    return list(cookies)


def looks(page: Page) -> Iterator[str]:
    """The page as it looks light and dark, at a desk and on a phone."""
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            yield f"{scheme}, {size['width']} wide"


@pytest.mark.parametrize("name", NAMES)
def test_everybody_can_use_it(visit: Visit, world: World, session: list[Any], axe: str, name: str) -> None:
    """axe-core finds no serious or critical fault, in light and dark, at a desk and on a phone; with all that can be
    folded out folded out."""
    visitor = visit()
    if name != "login":
        visitor.context.add_cookies(session)
    page = visitor.page
    visitor.go(pages(world.places)[name])
    page.evaluate(axe)
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
    faults: list[str] = []
    for look in looks(page):
        visitor.settle()
        faults += [f"{look}: {fault}" for fault in page.evaluate(_AXE, "html")]
    assert not faults, "\n".join(faults)


def test_everybody_can_use_what_opens(visit: Visit, world: World, session: list[Any], axe: str) -> None:
    """The same of dialogs, menus, a card's failure, a key that is shown once, a question before a deed, an error."""
    visitor = visit()
    visitor.expect("404 /dashboard/nowhere")
    visitor.context.add_cookies(session)
    page = visitor.page
    faults: list[str] = []

    def judge(what: str, part: str = "dialog[open]") -> None:
        page.evaluate(axe)
        for look in looks(page):
            if look in ("light, 1440 wide", "dark, 390 wide"):
                visitor.settle()
                faults.extend(f"{what}, {look}: {fault}" for fault in page.evaluate(_AXE, part))
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]

    visitor.go("/dashboard")
    page.locator(".side-foot summary").click()
    judge("menu", ".side-foot")
    page.keyboard.press("Escape")
    for button, name in (
        ("Remix", "Remix"),
        ("Extend", "Extend"),
        ("Family tree", "Family tree"),
        ("Delete", "Delete"),
    ):
        page.get_by_role("article").get_by_role("button", name=button).first.click()
        dialog = page.get_by_role("dialog", name=name)
        expect(dialog).to_be_visible()
        judge(button)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Copy as code").first.click()
    judge("code")
    visitor.go("/dashboard/keys/new")
    page.get_by_label("Name").fill("shown once")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator(".copyable").first).to_be_visible()
    judge("key", "html")
    visitor.go("/dashboard/nowhere")
    judge("error", "html")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_shows_all_of_it(visit: Visit, world: World, session: list[Any], language: str) -> None:
    """No page is wider than a small phone, in either language, nor does anything stand out of it."""
    visitor = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    wide = {}
    for name, path in pages(world.places).items():
        visitor.context.clear_cookies()
        if name != "login":
            visitor.context.add_cookies(session)
        visitor.context.add_cookies([{"name": "reelgate_language", "value": language, "url": visitor.url}])
        visitor.go(path)
        excess, *outside = visitor.page.evaluate(_WIDE)
        if excess > 0 or outside:
            wide[name] = (excess, outside)
    assert wide == {}


@pytest.mark.parametrize("name", ["studio", "videos", "keys", "channels"])
def test_chinese(visit: Visit, world: World, session: list[Any], name: str) -> None:
    """A browser that prefers Chinese gets it, from the server and from the scripts, and says so to screen readers."""
    visitor = visit(locale="zh-CN")
    visitor.context.add_cookies(session)
    visitor.go(pages(world.places)[name])
    assert visitor.page.locator("html").get_attribute("lang") == "zh-Hans"
    assert re.search("[\u4e00-\u9fff]", visitor.page.locator("h1").inner_text())
    words = json.loads(visitor.page.locator("#words").text_content() or "{}")
    assert words


def test_without_scripts(visit: Visit, world: World) -> None:
    """Without JavaScript one can log in, search videos, see one, make and revoke a key, read the usage, log out."""
    visitor = visit(java_script_enabled=False)
    page = visitor.page
    world.known("nora")
    key = world.server.key("made before", "nora")
    world.finished(key, world.server.make(key, "a small boat", model="sora-2", seconds="2", size="320x180"))
    visitor.go("/dashboard/videos")
    page.get_by_label("Username").fill("nora")
    page.get_by_label("Password").fill("a long way home")
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Words in the prompt").fill("boat")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="a small boat").click()
    expect(page.locator("h1")).to_have_text("a small boat")
    visitor.go("/dashboard/keys")
    page.get_by_role("link", name="Make a key").click()
    page.get_by_label("Name").fill("made without scripts")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator(".copyable code").first).to_have_text(re.compile(r"[A-Za-z0-9_.-]{32,}"))
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke").click()
    visitor.go("/dashboard/keys")
    expect(page.get_by_role("row", name="made without scripts")).to_contain_text("Revoked")
    visitor.go("/dashboard/usage")
    expect(page.locator(".figures")).to_contain_text("$0.20")
    page.locator(".side-foot summary").click()
    page.get_by_role("button", name="Log out").first.click()
    expect(page).to_have_url(re.compile("/login$"))


def test_what_was_chosen_stays(visit: Visit) -> None:
    """The switch of light and dark, and the language, are remembered for the next visit."""
    visitor = visit("anna", color_scheme="light")
    page = visitor.page
    visitor.go("/dashboard/account")
    page.locator(".side [data-theme-switch]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    visitor.go("/dashboard/usage")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    visitor.go("/dashboard/account")
    page.get_by_role("radio", name="中文").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    visitor.go("/dashboard/keys")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
