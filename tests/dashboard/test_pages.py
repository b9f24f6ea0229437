"""Every page: its headers, its words in both languages, and that what people typed stays text."""

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from proxy.dashboard import pages
from proxy.dashboard.languages import catalogue
from proxy.dashboard.templating import sources
from tests.dashboard.conftest import Desk, Open

ROOM = Path(pages.__file__).parents[1]
SHOWN = sorted({page.path for module in pages.ALL for page in module.all if page.show and "{" not in page.path})
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{1009*1013}}"
SCRIPTS = sorted((ROOM / "static").glob("*.js"))
OUR_SCRIPT = re.compile(r"/dashboard/static/[a-z_]+\.[0-9a-f]{12}\.js")
NAMES = {"Reelgate", "POST"}
OWN = ("/", "#", "?", "data:")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Reader(HTMLParser):
    """What a browser would run or fetch of a page, and the ids that labels and descriptions point to."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.fetched: list[str] = []
        self.inline: list[str] = []
        self.texts: list[str] = []
        self.code = 0
        self.language: str | None = None

    def handle_data(self, data: str) -> None:
        if self.code == 0:
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("code", "kbd", "pre")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.code += tag in ("code", "kbd", "pre")
        if tag == "html":
            self.language = told.get("lang")
        if tag == "script" and told.get("type") != "application/json":
            self.scripts.append(told.get("src"))
        self.fetched += [told[name] or "" for name in ("src", "href", "action", "poster") if name in told]
        self.inline += [name for name in told if name.startswith("on") or name == "style"]
        self.inline += [tag] if tag in ("style", "iframe", "object", "embed", "base") else []


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


async def test_every_page_is_closed_to_strangers(desk: Desk) -> None:
    """Strict headers, only our own script, nothing inline, nothing from elsewhere, and no store keeps it."""
    wanted = {
        "Content-Security-Policy": CSP,
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    otto = await desk.logged_in("otto")
    for path in (*SHOWN, "/login", "/dashboard/nowhere", "/dashboard?x=<script>"):
        browser = desk.browser() if path == "/login" else otto
        answer = await browser.get(path)
        assert answer.status == (404 if path.endswith("nowhere") else 200), path
        assert {name: answer.headers.get(name) for name in wanted} == wanted, path
        assert (await browser.ask("HEAD", path)).status == answer.status
        page = read(answer.text)
        assert page.inline == [], path
        assert all(address.startswith(OWN) and not address.startswith("//") for address in page.fetched), path
        if answer.text.startswith("<!doctype html>"):
            assert all(OUR_SCRIPT.fullmatch(address or "") for address in page.scripts), path
            # One module, which fetches the parts that a page needs.
            assert len(page.scripts) == 1, path
        else:
            assert page.scripts == [], path


async def test_what_leads_elsewhere_is_as_closed(desk: Desk) -> None:
    """Redirects and refusals have the same headers, so that no cache keeps who was let in."""
    browser = desk.browser()
    for answer in (
        await browser.get("/"),
        await browser.get("/dashboard"),
        await browser.log_in("anna"),
        await browser.get("/login"),
        await browser.post("/logout"),
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == CSP
    assert (await browser.get("/")).location == "/dashboard"


async def test_every_page_speaks_chinese(desk: Desk) -> None:
    """In the browser's language, or in the one that was chosen, which it remembers."""
    for path in SHOWN:
        browser = await desk.logged_in("otto")
        answer = await browser.get(path, **{"Accept-Language": "fr, zh-CN;q=0.9, en;q=0.8"})
        if not answer.text.startswith("<!doctype html>"):
            continue
        assert read(answer.text).language == "zh-Hans"
        assert "退出登录" in answer.text
        assert read((await browser.get(path)).text).language == "en"
        assert "退出登录" in (await browser.get(path + "?language=zh")).text
        assert "退出登录" in (await browser.get(path)).text


def test_no_text_is_left_untranslated() -> None:
    """Each text of templates, pages and script has its Chinese, with the same names in braces; none is translated that
    nobody says."""
    said: set[str] = set()
    for source in sources().values():
        said |= {json.loads(f'"{text}"') for text in re.findall(r'\b_\(\s*"((?:[^"\\]|\\.)*)"', source)}
    for file in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                if name == "say" or (isinstance(node.func, ast.Name) and name == "text"):
                    said.add(node.args[0].value)
    for script in SCRIPTS:
        said |= {
            json.loads(f'"{text}"') for text in re.findall(r'\bsay\(\s*"((?:[^"\\]|\\.)*)"', script.read_text("utf-8"))
        }
    translated = catalogue("zh")
    assert said - set(translated) == set()
    assert set(translated) - said == set()
    for text, translation in translated.items():
        assert sorted(re.findall(r"\{(\w+)\}", text)) == sorted(re.findall(r"\{(\w+)\}", translation)), text


def test_no_template_holds_bare_words() -> None:
    """What people read in a template goes through `_`; only names of our own and signs stand there as they are."""
    for name, source in sources().items():
        reader = Reader()
        reader.feed(re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.S))
        assert (
            set(re.findall(r"[^\W\d_]{2,}", re.sub(r'[\w-]+="[^"]*"|\S*/\S*', "", " ".join(reader.texts)))) <= NAMES
        ), name


def test_no_script_makes_html_of_text() -> None:
    """No way leads from a string to markup or code, but for pages that this server rendered (`DOMParser`)."""
    ways = re.compile(
        r"(?:inner|outer)HTML\s*\+?=(?!=)|insertAdjacentHTML|document\.write|createContextualFragment|\beval\("
        r"|new Function|setHTMLUnsafe|\.srcdoc|javascript:"
    )
    for script in SCRIPTS:
        assert ways.findall(script.read_text("utf-8")) == [], script.name
    for name, source in sources().items():
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", source), name


async def test_what_people_typed_stays_text(desk: Desk) -> None:
    """The name on the login page, the browser's own name in the list of sessions, the address of a page."""
    browser = desk.browser()
    answer = await browser.log_in(HOSTILE, "wrong wrong", next=HOSTILE)
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    agent = {"User-Agent": HOSTILE}
    assert (await browser.post("/login", agent, username="anna", password="a long way home")).status == 303
    for answer in (
        await browser.get("/dashboard/account"),
        await browser.ask("GET", "/dashboard/" + HOSTILE),
        await browser.ask("GET", "/login", params={"next": HOSTILE, "language": HOSTILE}),
    ):
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "1022117" not in answer.text


async def test_nobody_else_puts_words_on_a_page(desk: Desk) -> None:
    """A notice in a cookie that we did not sign for this session is not said."""
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    answer = await otto.submit("/dashboard/account/sessions/end-others")
    notice = next(cookie for cookie in answer.cookies if cookie.startswith("reelgate_notice="))
    stolen = notice.split(";")[0]
    signature = stolen.partition("=")[2].partition(".")[0]
    for cookie in (stolen, f"reelgate_notice={signature}.Send%20money", "reelgate_notice=.Send%20money"):
        shown = await anna.get("/dashboard/account", Cookie=f"reelgate_session={anna.cookie}; {cookie}")
        assert "All other sessions were ended." not in shown.text
        assert "Send money" not in shown.text
    assert "All other sessions were ended." in (await otto.get("/dashboard/account")).text


async def test_static_files_are_kept_for_ever(desk: Desk) -> None:
    """Under names that change with them; no other name finds anything."""
    browser = desk.browser()
    page = read((await browser.get("/login")).text)
    addresses = [address for address in page.fetched if address.startswith("/dashboard/static/")]
    assert len(addresses) == 3
    for address in addresses:
        answer = await browser.get(address)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("app.js", "../templates/base.html", "..%2fguard.py", "%2e%2e/guard.py", "nothing.css"):
        assert (await browser.get("/dashboard/static/" + name)).status == 404


async def test_a_reload_changes_what_https_is(open_desk: Open) -> None:
    """The pages follow channels.yaml while they run."""
    desk = await open_desk()
    text = "server: {public_url: 'https://video.example.com'}\nchannels: [{name: a, type: puppet, models: [sora-2]}]\n"
    await desk.product.reload(text)
    (cookie,) = (await desk.browser().log_in("anna")).cookies
    assert cookie.startswith("__Host-reelgate_session=")
