"""What people come for: a video is made, watched, remixed and deleted, and is nobody else's."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from openai import AuthenticationError, OpenAI
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.server import PASSWORD
from tests.browser.world import World

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_PLAYED = """async (film) => {
  const happens = (name) => new Promise((done) => film.addEventListener(name, done, { once: true }));
  const frame = () => new Promise((done) => film.requestVideoFrameCallback(done));
  const canvas = document.createElement("canvas");
  const seen = () => {
    [canvas.width, canvas.height] = [64, 36];
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    brush.drawImage(film, 0, 0, 64, 36);
    return [...brush.getImageData(0, 0, 64, 36).data];
  };
  while (film.currentTime < 0.3) await frame();
  const early = seen();
  film.pause();
  const seeked = happens("seeked");
  film.currentTime = 1.6;
  await seeked;
  const late = seen();
  const backwards = happens("seeked");
  film.currentTime = 0.1;
  await backwards;
  return {
    width: film.videoWidth, height: film.videoHeight, length: film.duration,
    changed: early.filter((value, place) => Math.abs(value - late[place]) > 16).length,
    colours: new Set(early).size, at: film.currentTime, error: film.error?.message ?? null,
  };
}"""


def order(page: Page, prompt: str, *, seconds: str = "2", size: str = "320x180") -> Locator:
    """Fill in the form of the studio and send it; answers the card."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Seconds", exact=True).select_option(seconds)
    page.get_by_label("Size", exact=True).select_option(size)
    page.get_by_role("button", name="Create video").click()
    card = page.get_by_role("article").filter(has_text=prompt)
    expect(card).to_be_visible()
    return card


def test_a_video_from_the_first_word_to_the_last_frame(visit: Visit) -> None:
    """A newcomer orders a video, sees its price before and its progress after, plays and seeks it in the card, remixes
    it there, finds both in the family tree, and downloads it. No page is loaded anew."""
    visitor = visit("emil")
    page = visitor.page
    partial: list[int] = []
    page.on("response", lambda answer: partial.append(answer.status) if "/content" in answer.url else None)
    visitor.go("/dashboard")
    page.evaluate("window.stayed = true")
    expect(page.get_by_text("Your first video")).to_be_visible()
    page.get_by_label("Seconds", exact=True).select_option("8")
    expect(page.locator("#price")).to_have_text("$0.80")
    card = order(page, "a paper plane through a bright office", size="1280x720")
    expect(page.locator("#price")).to_have_text("$0.20")
    expect(page.get_by_text("Your first video")).to_be_hidden()
    expect(card.get_by_text("Completed")).to_be_visible(timeout=60_000)
    expect(card).to_contain_text("$0.20")
    film = card.locator("video")
    film.focus()
    page.keyboard.press("Space")
    played = film.evaluate(_PLAYED)
    assert (played["width"], played["height"], played["error"]) == (1280, 720, None)
    assert played["length"] == pytest.approx(2, abs=0.2)
    assert played["at"] == pytest.approx(0.1, abs=0.05)
    assert played["colours"] > 20
    assert played["changed"] > 50
    assert 206 in partial
    card.get_by_role("button", name="Remix").click()
    dialog = page.get_by_role("dialog", name="Remix")
    expect(dialog).to_contain_text("a paper plane through a bright office")
    expect(dialog.locator("[data-price]")).to_have_text("$0.20")
    dialog.get_by_label("What shall be different?").fill("the same at night")
    dialog.get_by_role("button", name="Create video").click()
    remix = page.get_by_role("article").filter(has_text="the same at night")
    expect(remix.get_by_text("Completed")).to_be_visible(timeout=60_000)
    assert remix.locator("video").evaluate(
        "(film) => new Promise((done) => { film.preload = 'auto'; film.onloadeddata = () => done(film.videoWidth);"
        " if (film.readyState > 1) done(film.videoWidth); })"
    ) == 1280  # fmt: skip
    remix.get_by_role("button", name="Family tree").click()
    family = page.get_by_role("dialog", name="Family tree")
    expect(family.locator("li li")).to_contain_text("the same at night")
    expect(family.get_by_role("link", name="a paper plane")).to_be_visible()
    page.keyboard.press("Escape")
    expect(family).to_be_hidden()
    with page.expect_download() as download:
        remix.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes()[4:8] == b"ftyp"
    assert page.evaluate("window.stayed")


def test_a_video_that_fails_and_one_that_goes(visit: Visit) -> None:
    """A failed video says why and is tried again from its card; a card is deleted after a question."""
    visitor = visit("frida")
    page = visitor.page
    visitor.go("/dashboard")
    card = order(page, "a bridge of glass [fail]")
    expect(card).to_contain_text("The provider could not make it.", timeout=60_000)
    expect(card).to_contain_text("the demo channel failed this video half way")
    expect(card).to_contain_text("not charged")
    card.get_by_role("button", name="Try again").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a bridge of glass [fail]")
    card.get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete this video?")
    question.get_by_role("button", name="Cancel").click()
    expect(card).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete").click()
    expect(card).to_be_hidden()
    expect(page.get_by_text("Your first video")).to_be_visible()


def test_what_was_made_from_a_picture_is_tried_again_in_the_studio(visit: Visit) -> None:
    """Its page leads to the studio, whose form then has what it was made with, until something else is typed. A film
    on a card costs no connection before it is played."""
    visitor = visit("karin")
    page = visitor.page
    visitor.go("/dashboard")
    icon = {"name": "p.png", "mimeType": "image/png", "buffer": PIXEL}
    page.locator("#input_reference").set_input_files(icon)  # type: ignore[arg-type]
    card = order(page, "a lamp in a window", seconds="4", size="720x1280")
    expect(card.get_by_text("Completed")).to_be_visible(timeout=60_000)
    page.get_by_label("Prompt", exact=True).fill("something else")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(card.locator("video")).to_have_js_property("networkState", 1)
    assert [url for url in asked if url.endswith("/content")] == []
    card.get_by_role("link", name="a lamp in a window").click()
    page.get_by_role("link", name="Try again in the Studio").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a lamp in a window")
    expect(page.get_by_label("Seconds", exact=True)).to_have_value("4")
    expect(page.get_by_label("Size", exact=True)).to_have_value("720x1280")
    expect(page.get_by_text("Add the pictures again")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("a lamp on a table")
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a lamp on a table")


def test_its_own_page(visit: Visit) -> None:
    """The page of a video follows it to its end by itself, plays it, tells its costs, and orders it again."""
    visitor = visit("gerd")
    page = visitor.page
    visitor.go("/dashboard")
    order(page, "a slow river", size="1280x720").get_by_role("link", name="a slow river").click()
    expect(page.locator("h1")).to_have_text("a slow river")
    film = page.locator("video")
    expect(film).to_be_visible(timeout=60_000)
    film.evaluate("(film) => film.play()")
    played = film.evaluate(_PLAYED)
    assert (played["width"], played["height"], played["error"]) == (1280, 720, None)
    assert played["changed"] > 50
    expect(page.locator("#video-cost")).to_contain_text("$0.20")
    visitor.go("/dashboard/videos?text=river")
    expect(page.get_by_role("row", name="a slow river")).to_have_count(1)
    visitor.go("/dashboard/videos?text=desert")
    expect(page.get_by_role("row", name="a slow river")).to_have_count(0)


def test_a_key_for_a_program(visit: Visit, world: World) -> None:
    """A key made in the page is good for the official SDK at once; its videos and costs are in the pages; revoked
    there, it is refused."""
    visitor = visit("hanna")
    page = visitor.page
    visitor.go("/dashboard/keys")
    page.get_by_role("link", name="Make a key").first.click()
    page.get_by_label("Name").fill("my program")
    page.get_by_label("Budget in US dollars").fill("0.30")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator(".copyable code").first.inner_text()
    client = OpenAI(base_url=world.server.url + "/v1", api_key=key, max_retries=0)
    video = client.videos.create_and_poll(
        model="sora-2", prompt="a lamp in the rain", seconds="2", size="320x180", poll_interval_ms=100  # type: ignore[arg-type]
    )  # fmt: skip
    assert video.status == "completed"
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text("$0.20 of $0.30")).to_be_visible()
    assert key not in page.content()
    visitor.go("/dashboard/videos")
    expect(page.get_by_role("row", name="a lamp in the rain")).to_contain_text("my program")
    visitor.go(f"/dashboard/videos/{video.id}")
    expect(page.locator("video")).to_be_visible()
    visitor.go("/dashboard/keys")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="my program")).to_contain_text("Revoked")
    with pytest.raises(AuthenticationError):
        for _ in range(2000):
            client.videos.retrieve(video.id)


def test_another_member_sees_nothing(visit: Visit, world: World) -> None:
    """The page, the content, the card and the API of somebody else's video are those of one that never was: 404."""
    visitor = visit("ivan")
    page = visitor.page
    visitor.expect("404 /")
    foreign, unknown = world.places["foreign"], "video_" + "0" * 32
    told = {}
    for path in (
        "/dashboard/videos/{}", "/v1/videos/{}/content", "/v1/videos/{}/content?variant=thumbnail",
        "/dashboard/cards/{}", "/dashboard/cards/{}/family", "/dashboard/api/videos/{}",
    ):  # fmt: skip
        pair = []
        for video in (foreign, unknown):
            answer = visitor.context.request.get(path.format(video))
            text = re.sub(r"req_\w+", "req", answer.text().replace(video, "ID"))
            pair.append((answer.status, re.sub(r'data-\w+="[0-9a-f]{64}"', "", text)))
        told[path] = (pair[0][0], pair[0] == pair[1])
    assert set(told.values()) == {(404, True)}, told
    visitor.go(f"/dashboard/videos/{foreign}")
    expect(page.locator("h1")).not_to_contain_text("Cherry")
    for nav in ("", "/videos", "/usage", "/keys"):
        visitor.go("/dashboard" + nav)
        assert "Cherry blossoms" not in page.content()
        assert foreign not in page.content()


def test_a_member_is_no_admin(visit: Visit, world: World) -> None:
    """What is for admins is told not to be for members, and has no entry in their navigation."""
    visitor = visit("ivan")
    visitor.expect("403 /dashboard", "403 /admin")
    for path in ("unknown", "channels", "users", "users/new", "audit", f"users/{world.places['mei']}"):
        assert visitor.go(f"/dashboard/{path}").status == 403
        expect(visitor.page.get_by_role("link", name="Channels")).to_have_count(0)
    assert visitor.context.request.get("/admin/api/users").status in (401, 403)


# ---------------------------------------------------------------- by keyboard


def reach(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press a key until what is wanted has the focus, and see that each stop on the way is marked."""
    for _ in range(80):
        if target.evaluate("(one) => one === document.activeElement"):
            return
        page.keyboard.press(key)
        marked: Any = page.evaluate(
            """() => { const one = document.activeElement; const look = getComputedStyle(one);
            if (one === document.body || one.matches("video, main, .shot")) return true;
            const near = [one, one.nextElementSibling, one.parentElement, one.closest("label")].filter(Boolean);
            return near.some((it) => { const style = getComputedStyle(it);
              return (style.outlineStyle !== "none" && style.outlineWidth !== "0px") || style.boxShadow !== "none"; })
              || one.outerHTML.slice(0, 200); }"""
        )
        assert marked is True, f"no mark of the focus: {marked}"
    raise AssertionError("the keyboard never comes there")


def test_the_keyboard_is_enough(visit: Visit, world: World) -> None:
    """Login, a video, its remix and the logout without a mouse: each stop is marked, Escape closes what opened, and the
    focus goes back to where it came from."""
    visitor = visit()
    page, press = visitor.page, visitor.page.keyboard
    world.known("jana")
    visitor.go("/dashboard")
    # A browser gives the focus some time after it has loaded the page.
    expect(page.locator("[autofocus]")).to_be_focused()
    press.type("jana")
    press.press("Tab")
    press.type(PASSWORD)
    press.press("Enter")
    expect(page.locator("h1")).to_have_text("Studio")
    press.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    press.press("Enter")
    reach(page, page.get_by_label("Prompt", exact=True))
    press.type("a kettle on a stove")
    reach(page, page.get_by_label("Seconds", exact=True))
    press.press("Home")
    reach(page, page.get_by_label("Size", exact=True))
    press.type("320")
    reach(page, page.get_by_label("Prompt", exact=True), "Shift+Tab")
    press.press("Control+Enter")
    card = page.get_by_role("article").filter(has_text="a kettle")
    expect(card.get_by_text("Completed")).to_be_visible(timeout=60_000)
    expect(card).to_contain_text("320 × 180")
    reach(page, card.get_by_role("button", name="Remix"))
    press.press("Enter")
    dialog = page.get_by_role("dialog", name="Remix")
    expect(dialog.get_by_label("What shall be different?")).to_be_focused()
    press.press("Escape")
    expect(dialog).to_be_hidden()
    expect(card.get_by_role("button", name="Remix")).to_be_focused()
    press.press("Space")
    press.type("at night")
    reach(page, dialog.get_by_role("button", name="Create video"))
    press.press("Enter")
    expect(page.get_by_role("article").filter(has_text="at night").get_by_text("Completed")).to_be_visible(
        timeout=60_000
    )
    summary = page.locator(".side-foot summary")
    reach(page, summary, "Shift+Tab")
    press.press("Enter")
    press.press("Escape")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    expect(summary).to_be_focused()
    press.press("Enter")
    reach(page, page.locator(".side-foot").get_by_role("button", name="Log out"))
    press.press("Enter")
    expect(page).to_have_url(re.compile("/login$"))
