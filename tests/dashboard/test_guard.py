"""What no page of somebody else's can make a browser do, for every form and every call there is."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web

from proxy.accounts.administration import COMMAND_LINE
from proxy.api.routes import TABLE
from proxy.dashboard import forms, pages
from tests.dashboard.conftest import Browser, Desk, Open

FORMS = sorted({page.path for module in pages.ALL for page in module.all if page.take} | {"/logout"})
CALLS = sorted({(method, path) for method, path, _ in TABLE if method not in ("GET", "HEAD")})
FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


def filled(path: str) -> str:
    """An address of the route `path`."""
    return re.sub(r"\{\w+(?::(?:[^{}]|\{[^{}]*\})*)?\}", "x_1", path)


async def test_no_form_without_its_token(desk: Desk) -> None:
    """None, an empty one, one of another session of the same user, one of another user, or the cookie itself."""
    browser, other, anna = await desk.logged_in("otto"), await desk.logged_in("otto"), await desk.logged_in("anna")
    tokens: list[dict[str, str]] = [{}, *({"csrf": text} for text in ("", "é", browser.cookie))]
    tokens += [{"csrf": await other.token()}, {"csrf": await anna.token()}]
    for path in FORMS:
        for token in tokens:
            answer = await browser.post(filled(path), **token)
            assert answer.status == 403, (path, token)
            assert "This was not sent from a page of your present login" in answer.text
    assert await browser.is_in()


async def test_no_form_from_elsewhere(desk: Desk) -> None:
    """Also where it has the right token."""
    browser = await desk.logged_in("otto")
    token = await browser.token()
    for path in FORMS:
        for headers in FOREIGN:
            answer = await browser.post(filled(path), headers=headers, csrf=token)
            assert answer.status == 403, (path, headers)
            assert "from a page of another site" in answer.text
    assert await browser.is_in()


async def test_nobody_is_logged_in_from_elsewhere(desk: Desk) -> None:
    """A foreign page cannot log its visitor in to its own account; a client that is no browser may log in."""
    browser = desk.browser()
    for headers in FOREIGN:
        answer = await browser.post("/login", headers, username="anna", password="a long way home")
        assert (answer.status, answer.cookies) == (403, [])
    answer = await browser.ask("POST", "/login", data={"username": "anna", "password": "a long way home"})
    assert answer.status == 303


async def test_no_call_without_its_token(desk: Desk) -> None:
    """The script's calls need the header, of this very session, and a page of ours."""
    browser, other = await desk.logged_in(), await desk.logged_in()
    token, strange = await browser.token(), await other.token()
    wrong = ({}, {"x-csrf-token": strange}, *({"x-csrf-token": token, **foreign} for foreign in FOREIGN))
    for method, path in CALLS:
        address = "/dashboard/api" + filled(path)
        for headers in wrong:
            answer = await browser.ask(method, address, json={}, headers=headers)
            assert (answer.status, answer.headers["Content-Type"]) == (403, "application/json"), (path, headers)
        answer = await browser.ask(method, address, json={}, headers={"x-csrf-token": token, "Origin": browser.url})
        assert answer.status in (200, 400, 404, 415), (path, answer)


async def test_calls_act_for_who_is_logged_in(desk: Desk) -> None:
    """The video belongs to the user's tenant: another one, and its pages' calls, know nothing of it."""
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    video = await create(anna)
    assert (await anna.get(f"/dashboard/api/videos/{video}")).status == 200
    assert (await otto.get(f"/dashboard/api/videos/{video}")).status == 404
    assert video in (await anna.get("/dashboard/api/videos")).text
    # A session is no API key: the API itself does not take it.
    assert (await anna.get(f"/v1/videos/{video}")).status == 401


async def test_no_cache_keeps_what_a_session_was_told(desk: Desk) -> None:
    """A cache that many share knows of keys that their answers are for one; of cookies it does not."""
    otto = await desk.logged_in("otto")
    token = await otto.token()
    for path in ("/dashboard/api/videos", "/dashboard/api/usage", "/dashboard/api/videos/x", "/admin/api/users"):
        assert (await otto.get(path)).headers["Cache-Control"] == "no-store", path
        assert (await desk.browser().get(path)).headers["Cache-Control"] == "no-store", path
    headers = {"x-csrf-token": token, "Origin": otto.url}
    answer = await otto.ask("POST", "/dashboard/api/webhook_endpoints", headers=headers, json={})
    assert (answer.status, answer.headers["Cache-Control"]) == (400, "no-store")


async def test_a_script_is_told_in_its_own_words(desk: Desk) -> None:
    """Who fetches gets JSON, who looks is led to the login; a page and a call alike."""
    browser = desk.browser()
    for path in ("/dashboard", "/dashboard/account", "/dashboard/users"):
        answer = await browser.get(path, Accept="application/json")
        assert (answer.status, answer.headers["Content-Type"]) == (401, "application/json")
        answer = await browser.get(path)
        assert (answer.status, answer.location.split("?")[0]) == (303, "/login")


async def test_a_member_sees_nothing_of_the_operation(desk: Desk) -> None:
    """Each admin page is a 403 to a member, and no page of theirs leads there."""
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    for page in (page for module in pages.ALL for page in module.all if page.admin):
        method = "GET" if page.show else "POST"
        fields = {} if page.show else {"data": {"csrf": await anna.token()}}
        answer = await anna.ask(method, filled(page.path), **fields)
        assert answer.status == 403, page.path
        assert "This page is for admins." in answer.text
        assert f'href="{page.path}"' not in (await anna.get("/dashboard/account")).text
        assert not page.show or (await otto.get(filled(page.path))).status in (200, 404)


async def test_a_fault_of_ours_tells_nothing_of_itself(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has the id under which the log has the rest."""
    desk = await open_desk()
    browser = await desk.logged_in()

    async def broken(user_id: str) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(type(desk.accounts.sessions), "of_user", lambda self, user_id: broken(user_id))
    answer = await browser.get("/dashboard/account")
    assert answer.status == 500
    assert "secret of the house" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


async def test_a_body_that_is_no_form_is_refused(desk: Desk) -> None:
    """By the login and by the pages, with a page."""
    browser = await desk.logged_in()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (
        *({"data": data, "headers": form} for data in (b"csrf=%ff", b"a=1&" * 600, b"a" * 300_000, b"\xff\xfe")),
        {"json": {"csrf": "x"}},
        {"data": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    ):
        for path in ("/login", "/dashboard/account/password"):
            answer = await browser.ask("POST", path, **body)
            assert answer.status in (400, 403, 413, 415), path
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


async def test_headers_that_are_no_text_are_no_fault_of_ours(desk: Desk) -> None:
    """A new key is shown whatever the Host says, and an expectation that nobody can read is told so."""
    otto = await desk.logged_in("otto")
    body = f"csrf={await otto.token()}&name=k&owner=otto".encode()
    host, port = desk.product.url.removeprefix("http://").split(":")
    for header, expected in ((b"Host: \xff\xfe", b" 200 "), (b"Host: h\r\nExpect: \xff", b" 417 ")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /dashboard/keys/new HTTP/1.1\r\nConnection: close\r\nAccept: text/html\r\n" + header)
        writer.write(f"\r\nCookie: reelgate_session={otto.cookie}\r\nContent-Length: {len(body)}\r\n".encode())
        writer.write(b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body)
        async with asyncio.timeout(60):
            answer = await reader.read()
        assert expected in answer.split(b"\r\n")[0]
        assert (b"rg_" in answer) == (expected == b" 200 ")
        writer.close()


@pytest.mark.parametrize("how", ["disabled", "a member", "logged out"])
async def test_nobody_stays_an_admin_by_sending_slowly(desk: Desk, how: str) -> None:
    """What has begun to arrive before somebody was put down does nothing when the rest of it comes."""
    otto = await desk.logged_in("otto")
    user = await desk.accounts.users.find("otto")
    assert user is not None
    host, port = desk.product.url.removeprefix("http://").split(":")
    token = await otto.token()
    fields = f"csrf={token}&name=mole&password=a+good+password&role=admin".encode()
    body = b'{"name": "mole2", "password": "a good password", "role": "admin"}'
    answers = []
    for path, kind, sent in (
        ("/dashboard/users/new", "application/x-www-form-urlencoded", fields),
        ("/admin/api/users", "application/json", body),
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: reelgate_session={otto.cookie}\r\n"
        head += f"Accept: text/html\r\nx-csrf-token: {token}\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent[:20])
        answers.append((reader, writer, sent[20:]))
    # An answer to what came later: by now those are being read.
    assert await otto.is_in()
    change: dict[str, Any] = {"disabled": {"disabled": True}, "a member": {"role": "member"}}.get(how, {})
    administration = desk.accounts.administration
    await administration.change_user(user.id, actor=COMMAND_LINE, **change)
    if how == "logged out":
        await administration.log_out(user.id, actor=COMMAND_LINE)
    for reader, writer, rest in answers:
        writer.write(rest)
        async with asyncio.timeout(60):
            status = int((await reader.readline()).split()[1])
        assert status in (303, 401, 403)
        writer.close()
    assert {user.name for user in await desk.accounts.users.all()} == {"admin", "anna", "otto"}


async def test_a_form_that_stops_arriving_is_let_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who is not logged in keeps a request open by sending nothing more of it."""
    monkeypatch.setattr(forms, "STALL", 0.05)
    host, port = desk.product.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\nusername=anna&".encode())
    async with asyncio.timeout(60):
        assert b" 400 " in await reader.readline()
    writer.close()


async def create(browser: Browser) -> str:
    """A video that is made as the studio makes one: its id."""
    headers = {"x-csrf-token": await browser.token(), "Origin": browser.url}
    url = browser.url + "/dashboard/api/videos"
    async with browser.session.post(url, json={"prompt": "a paper plane"}, headers=headers) as response:
        assert response.status == web.HTTPOk.status_code, await response.text()
        return str((await response.json())["id"])
