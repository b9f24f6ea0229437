"""The studio: what it offers, what its cards say, whose videos they are, and that its script reckons as the server."""

import ast
import asyncio
import html
import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy import money
from proxy.dashboard.templating import decimal, shown_money
from proxy.engine.limits import _pixels_of
from proxy.errors import UpstreamTimeout
from proxy.models import JobError, Model, UpstreamJob
from tests.dashboard.conftest import Browser, Desk, Open

STATIC = Path(__file__).parents[2] / "proxy" / "dashboard" / "static"
EVIL = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>{{7*7}}"
CHANNELS = f"""
channels:
  - {{name: a, type: puppet, poll_every: 0.01, models: [sora-2, {json.dumps(EVIL)}],
     price: {{per_second: 0.1, 1080p: 0.3, silent: 0.05, remix: 0.2}}}}
  - {{name: off, type: puppet, models: [hidden], enabled: false}}
"""
FRAME = {"Accept": "*/*", "Sec-Fetch-Dest": "empty"}


@pytest.fixture
async def studio(open_desk: Open) -> Desk:
    return await open_desk(CHANNELS)


async def make(browser: Browser, path: str = "/videos", **fields: Any) -> dict[str, Any]:
    """Order as the script of the page does."""
    headers = {"x-csrf-token": await browser.token(), "Origin": browser.url, "Accept": "application/json"}
    answer = await browser.ask("POST", f"/dashboard/api{path}", json={"prompt": "a lamp", **fields}, headers=headers)
    assert answer.status == 200, answer.text
    video: dict[str, Any] = json.loads(answer.text)
    return video


async def ended(browser: Browser, video: dict[str, Any]) -> str:
    """Wait for the end of a video; answers its card."""
    async with asyncio.timeout(60):
        while True:
            answer = await browser.get(f"/dashboard/api/videos/{video['id']}", Accept="application/json")
            if json.loads(answer.text)["status"] in ("completed", "failed"):
                return await card(browser, video)
            await asyncio.sleep(0.01)


async def card(browser: Browser, video: dict[str, Any]) -> str:
    answer = await browser.get(f"/dashboard/cards/{video['id']}", **FRAME)
    assert answer.status == 200, answer.text
    return answer.text


def offered(page: str) -> list[dict[str, Any]]:
    """What the page tells its script of the models."""
    found = re.search(r'<script type="application/json" id="models">(.*?)</script>', page, re.S)
    assert found is not None
    models: list[dict[str, Any]] = json.loads(found[1])
    return models


# ---------------------------------------------------------------- what it offers


async def test_the_studio_offers_what_there_is(studio: Desk) -> None:
    """The models of channels that are on, each price as the decimal that the operator wrote."""
    page = (await (await studio.logged_in()).get("/dashboard")).text
    models = {model["name"]: model for model in offered(page)}
    assert models.keys() == {"sora-2", EVIL}
    assert models["sora-2"]["price"] == "0.1"
    assert models["sora-2"]["prices"] == {"1080p": "0.3", "silent": "0.05", "remix": "0.2"}
    assert "<option selected>sora-2</option>" in page
    assert "Your first video" in page
    assert page.count("data-example") == 3
    # What the server refuses, a GIF for one, is not offered to be chosen.
    assert set(re.findall(r'accept="([^"]+)"', page)) == {"image/png,image/jpeg,image/webp"}


async def test_the_form_begins_with_what_a_video_was_made_with(studio: Desk) -> None:
    """One's own video, which the address names; another's, or none, leaves it empty."""
    anna, otto = await studio.logged_in(), await studio.logged_in("otto")
    video = await make(anna, prompt=EVIL, seconds="8", size="1920x1080", seed=7)
    form = r'<form class="card composer".*?>\n'
    opened = re.search(form, (await anna.get(f"/dashboard?from={video['id']}")).text)
    assert opened is not None
    assert f'data-prompt="{html.escape(EVIL)}"'.replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in opened[0]
    told = re.search(r"data-settings='([^']*)'", opened[0])
    assert told is not None
    settings = json.loads(html.unescape(told[1]))
    expected = {"model": "sora-2", "seconds": 8, "size": "1920x1080", "seed": 7, "pictures": 0}
    assert expected.items() <= settings.items()
    for browser, query in ((otto, video["id"]), (anna, "video_0"), (anna, ""), (anna, "%00<b>")):
        empty = re.search(form, (await browser.get(f"/dashboard?from={query}")).text)
        assert empty is not None
        assert "data-settings" not in empty[0]


@pytest.mark.parametrize(("name", "words"), [("anna", "An admin of this server"), ("otto", "channels.yaml")])
async def test_without_a_model_it_says_what_to_do(open_desk: Open, name: str, words: str) -> None:
    """Who can add a channel is told how, and who cannot, whom to ask."""
    desk = await open_desk("channels: [{name: off, type: puppet, models: [hidden], enabled: false}]\n")
    page = (await (await desk.logged_in(name)).get("/dashboard")).text
    assert words in page
    assert 'id="composer"' not in page


async def test_what_was_typed_stays_text(studio: Desk) -> None:
    """The prompt, the model's name and what an upstream said, on the page, on the card and in the family."""
    browser = await studio.logged_in()
    channel = studio.product.channel("a")
    channel.then("create", UpstreamJob(id="x", status="failed", error=JobError("moderation_blocked", EVIL)))
    failed = await make(browser, model=EVIL, prompt=EVIL)
    done = await make(browser, prompt=EVIL)
    await ended(browser, done)
    await make(browser, f"/videos/{done['id']}/remix", prompt=EVIL)
    for path in ("/dashboard", *(f"/dashboard/cards/{failed['id']}{part}" for part in ("", "/family"))):
        text = (await browser.get(path)).text
        assert "alert(1)</script>" not in text
        assert "<img src=x" not in text
        assert "{{7*7}}" in text
        assert html.escape(EVIL, quote=False).partition('"')[0] in text


# ---------------------------------------------------------------- cards


async def test_a_card_goes_through_the_life_of_its_video(studio: Desk) -> None:
    """Live while it is made, then a player that seeks by the content route with the session, and what can come next."""
    browser = await studio.logged_in()
    gate: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    studio.product.channel("a").then("fetch", gate)
    video = await make(browser, size="1920x1080", seconds="8")
    making = await card(browser, video)
    assert "data-live" in making
    assert "$2.40" in making
    assert "<video" not in making
    gate.set_result(UpstreamJob(id="x", status="completed"))
    done = await ended(browser, video)
    assert "data-live" not in done
    assert f'src="/v1/videos/{video["id"]}/content"' in done
    assert f'poster="/v1/videos/{video["id"]}/content?variant=thumbnail"' in done
    part = await browser.get(f"/v1/videos/{video['id']}/content", Range="bytes=4-7")
    assert (part.status, part.text) == (206, "ftyp")
    # A remix has a price of its own; an edit is a new video here, at the price of one; nothing extends.
    ways = re.findall(r'data-follow="(\w+)" data-per-second="([0-9.]+)" data-seconds="(\d+)"', done)
    assert ways == [("remix", "0.2", "8"), ("edit", "0.3", "8")]
    await studio.product.reload("channels: [{name: b, type: puppet, models: [other]}]\n")
    assert "data-follow" not in await card(browser, video), "its channel is gone"


async def test_a_failed_card_says_why_and_what_to_do(studio: Desk) -> None:
    """In plain words, with the provider's own sentence, and that nothing was charged."""
    browser = await studio.logged_in()
    error = JobError("insufficient_funds", "Balance is -3.")
    studio.product.channel("a").then("create", UpstreamJob(id="x", status="failed", error=error))
    text = await card(browser, await make(browser))
    assert "The account at the provider has run out of money." in text
    assert "Balance is -3." in text
    assert "not charged" in text
    assert "data-again" in text


async def test_an_outcome_that_is_not_known_is_not_called_queued(studio: Desk) -> None:
    """Its owner is told that it is looked up, and not sent again."""
    browser = await studio.logged_in()
    studio.product.channel("a").then("create", UpstreamTimeout("nothing came"))
    text = await card(browser, await make(browser))
    assert "Outcome unknown" in text
    assert "nothing is paid for twice" in text


async def test_nobody_sees_the_card_of_another(studio: Desk) -> None:
    """Not a member's, not an admin's: on the page it is not there, and by its id it is as unknown as any."""
    mine, other, admin = await studio.logged_in(), studio.browser(), await studio.logged_in("otto")
    await studio.accounts.users.create("berta", "another long way home")
    await other.log_in("berta", "another long way home")
    video = await make(mine, prompt="a secret garden")
    await ended(mine, video)
    assert "a secret garden" in (await mine.get("/dashboard")).text
    for stranger in (other, admin):
        assert "a secret garden" not in (await stranger.get("/dashboard")).text
        for part in ("", "/family"):
            answers = []
            for video_id in (video["id"], "video_01a2068fe0f2702e1c590dfb12cfbc35"):
                answer = await stranger.get(f"/dashboard/cards/{video_id}{part}", **FRAME)
                assert answer.status == 404
                answers.append(re.sub(r"req_\w+", "", answer.text.replace(video_id, "")))
            assert answers[0] == answers[1]
        assert (await stranger.get(f"/v1/videos/{video['id']}/content")).status == 404


# ---------------------------------------------------------------- families


async def test_a_family_is_shown_from_its_root_on(studio: Desk) -> None:
    """From any of its members, also across one that was deleted, of which nothing is told any more."""
    browser = await studio.logged_in()
    root = await make(browser, prompt="the root")
    await ended(browser, root)
    middle = await make(browser, f"/videos/{root['id']}/remix", prompt="the middle")
    await ended(browser, middle)
    for prompt in ("a leaf", "another leaf"):
        leaf = await make(browser, f"/videos/{middle['id']}/remix", prompt=prompt)
    await ended(browser, leaf)
    assert "2 made from it" in await card(browser, middle)
    text = (await browser.get(f"/dashboard/cards/{leaf['id']}/family")).text
    shown = re.findall(r"the root|the middle|a leaf|another leaf", text)
    assert shown == ["the root", "the middle", "a leaf", "another leaf"]
    headers = {"x-csrf-token": await browser.token(), "Origin": browser.url}
    assert (await browser.ask("DELETE", f"/dashboard/api/videos/{middle['id']}", headers=headers)).status == 200
    text = (await browser.get(f"/dashboard/cards/{root['id']}/family")).text
    assert "the middle" not in text
    assert middle["id"] not in text
    assert text.index("A video that was deleted") < text.index("a leaf")
    assert "made from it" not in await card(browser, root)


async def test_a_large_family_is_cut(studio: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever remixes without end gets a page all the same."""
    monkeypatch.setattr("proxy.dashboard.pages.studio.RELATIVES", 3)
    browser = await studio.logged_in()
    root = await make(browser)
    await ended(browser, root)
    for _ in range(3):
        await make(browser, f"/videos/{root['id']}/remix")
    text = (await browser.get(f"/dashboard/cards/{root['id']}/family")).text
    assert text.count('class="relative"') == 3
    assert "more members" in text


# ---------------------------------------------------------------- the script


def run_node(folder: Path, script: str, told: Any) -> Any:
    """What the modules of the page answer: `script` gets `told`, and prints JSON."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for name in ("money.js", "snippets.js"):
        shutil.copy(STATIC / name, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "app.js").write_text("export const say = (text) => text;\n")
    (folder / "run.js").write_text("const told = JSON.parse(process.argv[2]);\n" + script)
    done = subprocess.run([node, "run.js", json.dumps(told)], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_script_reckons_prices_as_the_server_does(tmp_path: Path) -> None:
    """By size, resolution and sound, exactly: what the page shows is what is reserved."""
    chance = random.Random(7)
    words = ["1920x1080", "1080p", "4k", "720p", "silent", "1080p silent", "1280x720 silent"]
    sizes = ["1920x1080", "1080x1920", "1280x720", "3840x2160", "16:9", "9:16", "17:16", "21:9", "1024x1024"]
    asked, wanted = [], []
    for _ in range(400):
        table = {word: chance.choice([0.0, 0.1, 0.0333333, 1e-7, 12.5]) for word in words if chance.random() < 0.4}
        model = Model(price=chance.choice([None, 0.0, 0.1, 0.7, 1e-10]), prices=table)
        size, seconds, silent = chance.choice(sizes), chance.randint(1, 3600), chance.random() < 0.5
        per_second = model.price_of(size if "x" in size else _pixels_of(size), audio=False if silent else None)
        amount = None if per_second is None else money.price(per_second, seconds)
        wanted.append("price not known" if amount is None else "free" if amount == 0 else shown_money(amount))
        shown = {word: decimal(price) for word, price in table.items()}
        price = None if model.price is None else decimal(model.price)
        asked.append({"model": {"price": price, "prices": shown}, "size": size, "silent": silent, "seconds": seconds})
    script = (
        'import { perSecond, price } from "./money.js";\n'
        "const one = ({ model, size, silent, seconds }) => price(perSecond(model, size, silent), seconds);\n"
        "console.log(JSON.stringify(told.map(one)));\n"
    )
    assert run_node(tmp_path, script, asked) == wanted


def test_no_prompt_gets_out_of_the_code_that_is_copied(tmp_path: Path) -> None:
    """The shell hands on to the letter what was typed, and so do Python and Node."""
    evil = f'it\'s "$(touch pwned)" `id` \\ \n@file <x; {EVIL} \u2028 %s ${{HOME}}'
    name = "a';touch pwned;'\"b.png"
    fields = {"model": evil, "prompt": evil, "seconds": "4", "audio": True, "seed": 7}
    base = {"base": "http://127.0.0.1:1/v1", "path": "/videos", "fields": fields}
    picture = {"field": "input_reference", "name": name, "type": "image/png"}
    last = {"field": "last_frame", "name": name, "type": "image/png"}
    requests = [{**base, "files": []}, {**base, "files": [picture, last]}]
    script = (
        'import { snippets } from "./snippets.js";\n'
        "const all = (request) => Object.entries(snippets).map(([name, make]) => [name, make(request)]);\n"
        "console.log(JSON.stringify(told.map((request) => Object.fromEntries(all(request)))));\n"
    )
    plain, formed = run_node(tmp_path, script, requests)
    for code, parts in ((plain["curl"], None), (formed["curl"], [f"prompt={evil}", f"model={evil}"])):
        shell = f"curl() {{ printf '%s\\0' \"$@\"; }}\n{code}\n"
        done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, check=True)
        words = done.stdout.decode().split("\0")
        if parts is None:
            assert json.loads(words[words.index("-d") + 1]) == fields
        else:
            assert all(words[words.index(part) - 1] == "--form-string" for part in parts)
            escaped = name.replace('"', '\\"')
            assert f'input_reference=@"{escaped}";type=image/png' in words
    assert not (tmp_path / "pwned").exists()
    for code in (plain["python"], formed["python"]):
        texts = [node.value for node in _constants(code)]
        assert texts.count(evil) == 2
    for code in (plain["node"], formed["node"]):
        (tmp_path / "sample.js").write_text(code)
        subprocess.run([str(shutil.which("node")), "--check", "sample.js"], cwd=tmp_path, check=True)


def _constants(code: str) -> list[Any]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
