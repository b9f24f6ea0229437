"""Whatever others may write, it is words on our pages: nothing of it runs, and nothing of it becomes an element."""

from __future__ import annotations

import io
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import EVIL, Visit
from tests.browser.visitor import Visitor
from tests.browser.world import World

_HURT = """() => [window.hurt ?? null, document.querySelectorAll(["[onerror]", "[onload]", "[src=x]",
  "a[href^='javascript:' i]", "script:not([src]):not([type='application/json'])"].join()).length]"""


def unhurt(page: Page) -> None:
    """Nothing ran, and no element came of a text. Breaches of the policy are the visitor's to find."""
    assert page.evaluate(_HURT) == [None, 0], page.url


def test_what_is_typed_in(visit: Visit) -> None:
    """Prompt, negative prompt, picture's name and model's name in the studio; the failure's text, which repeats them;
    the code that is offered; the remix that quotes them."""
    visitor = visit("mallory")
    page = visitor.page
    visitor.go("/dashboard")
    picture = io.BytesIO()
    Image.new("RGB", (320, 180), "teal").save(picture, "PNG")
    page.get_by_label("Size", exact=True).select_option("320x180")
    page.get_by_label("Seconds", exact=True).select_option("2")
    page.locator("#input_reference").set_input_files(
        [{"name": EVIL.replace("/", "") + ".png", "mimeType": "image/png", "buffer": picture.getvalue()}]
    )
    expect(page.locator(".thumbs img")).to_have_count(1)
    page.locator("#input_reference").set_input_files(
        [{"name": EVIL.replace("/", ""), "mimeType": "text/html", "buffer": b"<script>window.hurt = 5</script>"}]
    )
    expect(page.locator("#toasts")).to_contain_text("is no picture")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("What must not be in it").fill(EVIL)
    page.get_by_label("Prompt", exact=True).fill(EVIL)
    page.locator("#composer").get_by_role("button", name="Copy as code").click()
    code = page.get_by_role("dialog", name="Copy as code")
    for language in ("curl", "Python", "Node"):
        code.get_by_role("radio", name=language).check(force=True)
        expect(code.locator("[data-text]")).to_contain_text("window.hurt")
        unhurt(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Create video").click()
    card = page.get_by_role("article").first
    expect(card.get_by_text("Completed")).to_be_visible(timeout=60_000)
    unhurt(page)
    card.get_by_role("button", name="Remix").click()
    unhurt(page)
    page.keyboard.press("Escape")
    page.get_by_label("Model").select_option(EVIL)
    page.get_by_label("Prompt", exact=True).fill("a second one" + EVIL)
    page.get_by_role("button", name="Create video").click()
    failed = page.get_by_role("article").filter(has_text="a second one")
    expect(failed.locator(".said")).to_contain_text("window.hurt", timeout=60_000)
    unhurt(page)
    failed.get_by_role("link", name="a second one").click()
    expect(page.locator(".said")).to_contain_text("window.hurt")
    unhurt(page)
    for path in ("/dashboard", "/dashboard/videos", "/dashboard/usage"):
        visitor.go(path)
        expect(page.locator("main")).to_contain_text("window.hurt")
        unhurt(page)


def test_what_programs_and_forms_bring(visit: Visit, world: World) -> None:
    """Metadata, names of keys and endpoints, notes, the browser's own name, refused names of users: for the member who
    wrote them and for the admin who reads them."""
    world.known("mallet")
    key = world.server.key(EVIL[:100], "mallet")
    video = world.server.make(
        key, EVIL, model="sora-2", seconds="2", size="320x180", metadata={EVIL[:60]: EVIL, "note": EVIL}
    )  # fmt: skip
    hook = {"name": EVIL[:100], "url": world.upstream.url + "/hooks?" + quote(EVIL), "event_types": ["video.completed"]}
    endpoint = world.server.call("POST", "/v1/webhook_endpoints", key=key, **hook)["id"]
    world.finished(key, video)
    world.finished(key, world.server.call("POST", f"/v1/videos/{video}/remix", key=key, prompt=EVIL)["id"])
    member, admin = visit("mallet", user_agent="Mozilla/5.0 Firefox/99 " + EVIL), visit("admin")
    keys = world.server.call("GET", "/admin/api/keys?tenant=user_mallet")["data"]
    for visitor in (member, admin):
        shown = [f"videos/{video}", "videos", "keys", f"keys/{keys[0]['id']}", "usage", "account", "keys/new"]
        shown += ["webhooks", f"webhooks/{endpoint}"] if visitor is member else ["audit", "users", "channels"]
        for path in shown:
            visitor.go(f"/dashboard/{path}")
            unhurt(visitor.page)
    admin.go("/dashboard/users/new")
    admin.expect("4.. /dashboard/users/new")
    admin.page.get_by_label("Name").fill("<img src=x onerror=alert(1)>")
    admin.page.get_by_role("button", name="Make the user").click()
    expect(admin.page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    unhurt(admin.page)


def test_what_addresses_say(visit: Visit) -> None:
    """Nothing in the query or the path becomes part of a page, nor leads a login away from the site."""
    member, nobody = visit("mallory"), visit()
    for visitor in (member, nobody):
        visitor.expect("4.. /", "does not conform to the required format")
    evil = quote(EVIL, safe="")
    for path in (
        f"/dashboard/videos?text={evil}&model={evil}&state={evil}&key={evil}&since={evil}&after={evil}&channel={evil}",
        f"/dashboard/{evil}", f"/dashboard/videos/{evil}", f"/dashboard/keys?tenant={evil}&language={evil}",
        f"/dashboard/usage?from={evil}&to={evil}&days={evil}&of={evil}",
    ):  # fmt: skip
        member.go(path)
        unhurt(member.page)
    for wanted in (
        evil,
        "javascript:window.hurt=1",
        "//example.com",
        "https://example.com/",
        "/dashboard/../\\example.com",
    ):
        _enter(nobody, f"/login?next={wanted}")
        assert nobody.page.url == nobody.url + "/dashboard"
        nobody.context.clear_cookies()
    nobody.go("/login")
    nobody.page.get_by_label("Username").fill(EVIL[:60])
    nobody.page.get_by_label("Password").fill("wrong password")
    nobody.page.get_by_role("button", name="Log in").click()
    expect(nobody.page.get_by_role("alert")).to_be_visible()
    unhurt(nobody.page)


def _enter(visitor: Visitor, path: str) -> None:
    visitor.go(path)
    unhurt(visitor.page)
    visitor.page.get_by_label("Username").fill("mallory")
    visitor.page.get_by_label("Password").fill("a long way home")
    visitor.page.get_by_role("button", name="Log in").click()
    expect(visitor.page.locator("h1")).to_have_text("Studio")
