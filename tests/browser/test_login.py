"""The way in and out: login, logout, the end of a session, and what other sites try."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.server import PASSWORD
from tests.browser.world import World


def test_the_first_login(visit: Visit) -> None:
    """The address of the site leads to the login; a wrong password is told, the right one leads to where one was
    going."""
    visitor = visit()
    visitor.expect("401 /login")
    page = visitor.page
    visitor.go("/")
    expect(page).to_have_url(re.compile(r"/login$"))
    visitor.go("/dashboard/keys?tenant=admin")
    expect(page.get_by_label("Username")).to_be_focused()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("The username or the password is wrong.")
    expect(page.get_by_label("Password")).to_be_focused()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/dashboard/keys\?tenant=admin$"))
    cookies = {cookie["name"]: cookie for cookie in visitor.context.cookies()}
    assert cookies["reelgate_session"]["httpOnly"]
    assert cookies["reelgate_session"]["sameSite"] == "Lax"


def test_logging_out(visit: Visit, world: World) -> None:
    """A logout ends the session here, in other tabs and for whoever copied the cookie; going back shows nothing."""
    visitor, thief = visit("anna"), visit()
    page = visitor.page
    visitor.go("/dashboard/account")
    thief.context.add_cookies(visitor.context.cookies())
    thief.go("/dashboard/account")
    expect(thief.page).to_have_url(re.compile("/dashboard/account"))
    page.locator(".side-foot summary").click()
    page.get_by_role("button", name="Log out").first.click()
    expect(page).to_have_url(re.compile(r"/login$"))
    page.go_back()
    expect(page).to_have_url(re.compile(r"/login\?next="))
    thief.go("/dashboard/account")
    expect(thief.page).to_have_url(re.compile(r"/login\?next="))


@pytest.mark.parametrize(("column", "age"), [("seen_at", 12.1 * 3600), ("created_at", 14.1 * 86400)])
def test_the_end_of_a_session(visit: Visit, world: World, column: str, age: float) -> None:
    """A session that nobody used for 12 hours, or that is 14 days old, leads to the login, and from there back; a
    script that calls then goes the same way."""
    visitor = visit("berta")
    page = visitor.page
    visitor.expect("401 /dashboard/api/videos")
    visitor.go("/dashboard")
    page.get_by_label("Prompt", exact=True).fill("a lamp that is never lit")
    with world.server.store() as db:
        db.execute(f"UPDATE sessions SET {column} = {column} - ? WHERE user_id = ?", (age, world.places["berta"]))
    _until(lambda: "/login" in visitor.context.request.get("/dashboard/account").url)
    page.get_by_role("button", name="Create video").click()
    expect(page).to_have_url(re.compile(r"/login"))
    visitor.go("/dashboard/usage?days=7")
    page.get_by_label("Username").fill("berta")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/dashboard/usage\?days=7$"))


def _until(holds: Callable[[], bool]) -> None:
    """Wait for what a memory of half a second puts off."""
    for _ in range(1000):
        if holds():
            return
    raise AssertionError("it never came")


# ---------------------------------------------------------------- other sites

_ATTACK = """<!doctype html><title>nice cats</title>
<form id="f" method="post" action="{site}{path}" target="_self">{fields}</form>
<script>document.getElementById("f").submit()</script>"""

_CALLS = """<!doctype html><title>nice dogs</title><script>
const tries = [
  fetch("{site}/dashboard/api/videos", {{method: "POST", credentials: "include", mode: "no-cors",
    headers: {{"Content-Type": "text/plain"}}, body: '{{"prompt": "of a stranger", "model": "sora-2"}}'}}),
  fetch("{site}/dashboard/api/videos", {{method: "POST", credentials: "include",
    headers: {{"Content-Type": "application/json", "x-csrf-token": "0"}}, body: '{{"prompt": "of a stranger"}}'}}),
  fetch("{site}/dashboard/api/videos", {{credentials: "include"}}).then((got) => got.text()),
  fetch("{site}/dashboard/account", {{credentials: "include"}}).then((got) => got.text()),
];
Promise.allSettled(tries).then((ends) => {{
  document.title = ends.map((end) => end.status + ":" + end.value?.type).join(" ");
}});
</script><iframe src="{site}/dashboard"></iframe>"""


@pytest.fixture
def elsewhere(world: World) -> Iterator[str]:
    """Another site, on another port and under another name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/calls":
                body = _CALLS.format(site=world.server.url)
            else:
                wanted = urlsplit(self.path)
                fields = "".join(f'<input name="{name}" value="{value}">' for name, value in parse_qsl(wanted.query))
                body = _ATTACK.format(site=world.server.url, path=wanted.path, fields=fields)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "form",
    [
        "/dashboard/keys/new?name=stolen&models_of=all",
        "/dashboard/account/password?old=a long way home&new=of a stranger&again=of a stranger",
        "/dashboard/account/sessions/end-all?csrf=0",
        "/logout?csrf=0",
        "/login?username=jonas&password=a long way home",
    ],
)
def test_a_form_of_another_site(visit: Visit, world: World, elsewhere: str, form: str) -> None:
    """A form that another site submits by itself changes nothing, not even who is logged in. Another port of the same
    host is the same site to the browser, which sends the cookie: only our own look at it stops it."""
    visitor = visit("carla")
    visitor.expect("left the site", "403 ", "404 /favicon.ico")
    before = world.server.call("GET", "/admin/api/keys")
    visitor.page.goto(elsewhere + form)
    expect(visitor.page.locator("h1")).to_have_text("Not allowed")
    assert world.server.call("GET", "/admin/api/keys") == before
    visitor.go("/dashboard/account")
    expect(visitor.page.get_by_text("Logged in as carla.")).to_be_visible()


def test_a_script_of_another_site(visit: Visit, world: World, elsewhere: str) -> None:
    """Calls of a foreign script make nothing and read nothing, and no frame of a foreign page shows the dashboard."""
    visitor = visit("dora")
    visitor.expect(
        "left the site", "CORS", "403 /dashboard/api/videos", "frame-ancestors", "40[45] ", "X-Frame-Options"
    )
    page = visitor.page
    page.goto(elsewhere + "/calls")
    expect(page).to_have_title("fulfilled:opaque rejected:undefined rejected:undefined rejected:undefined")
    assert page.frames[1].url.startswith("chrome-error:")
    visitor.go("/dashboard/videos")
    expect(page.get_by_text("of a stranger")).to_have_count(0)
