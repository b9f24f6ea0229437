"""`reelgate plugins test --live`: one paid order of a provider, whatever that does; here Lumen's, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.commands import plugin_live, plugin_trial
from proxy.errors import UnsupportedOperation
from proxy.media import stills
from proxy.testing import SimulatorServer
from tests.contract.atelier import AtelierSimulator
from tests.simulators.lumen import LumenSimulator

ROOT = Path(__file__).parents[2]
LUMEN = ROOT / "docs" / "examples" / "lumen.py"
ATELIER = ROOT / "tests" / "contract" / "plugins" / "atelier.py"
KEY = "live-key-83b1f0d2a7"
ENTRY = """
channels:
  - name: {kind}
    type: {kind}
    api_key: ${{LIVE_KEY}}
    base_url: {base}
    allow_hosts: ["{files}"]
    poll_every: 0.02
    timeout: {{first_byte: 1}}
    models: {{cheap: {{upstream: small-1, seconds: [5, 3], sizes: [1280x720, 640x360], price: {{per_second: 0.1}}}},
      dear: {{upstream: large-1, seconds: [2], sizes: [640x360], price: {{per_second: 0.9}}}}}}
"""
UNPRICED = ", price: {per_second: 0.1}", ", price: {per_second: 0.9}"


class Shop:
    """A running provider, and an operator's folder whose channels.yaml names it."""

    def __init__(self, sim: Any, plugin: Path, file: Path) -> None:
        self.sim = sim
        self.plugin = plugin
        self.file = file

    async def test(self, *options: str, answer: str = "") -> Result:
        arguments = ["plugins", "test", str(self.plugin), "--live", "--config", str(self.file), *options]
        environ = {"LIVE_KEY": KEY}
        return await asyncio.to_thread(CliRunner(env=environ).invoke, main, arguments, input=answer)


async def _shop(sim: Any, plugin: Path, folder: Path) -> AsyncIterator[Shop]:
    async with SimulatorServer(sim) as running:
        file = folder / "channels.yaml"
        text = ENTRY.format(kind=plugin.stem, base=running.base_url, files=running.files_url.partition("//")[2])
        await asyncio.to_thread(file.write_text, text)
        yield Shop(running, plugin, file)


@pytest.fixture
def no_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are decoded in processes of their own, which take a second: one test of them is enough."""

    async def missing(param: str | None = None) -> None:
        raise UnsupportedOperation("not here")

    monkeypatch.setattr(stills, "require", missing)


@pytest.fixture
async def lumen(tmp_path: Path) -> AsyncIterator[Shop]:
    async for shop in _shop(LumenSimulator(keys={KEY}), LUMEN, tmp_path):
        yield shop


@pytest.fixture
async def atelier(tmp_path: Path) -> AsyncIterator[Shop]:
    async for shop in _shop(AtelierSimulator(keys={KEY}), ATELIER, tmp_path):
        yield shop


def verdicts(result: Result) -> list[str]:
    """The first word of each law's line."""
    return [line.split()[0] for line in result.stdout.splitlines() if line[:1].strip()]


async def test_one_video_is_ordered_and_followed_to_its_film(lumen: Shop, tmp_path: Path) -> None:
    """The cheapest video is ordered once, polled, downloaded and kept; price and id are told."""
    film = tmp_path / "film.mp4"
    result = await lumen.test("--yes", "-o", str(film))
    assert result.exit_code == 0, result.output
    assert set(verdicts(result)) == {"ok"}
    assert lumen.sim.paid == 1
    assert "first frame to its last.\n      It is 160x96; 640x360 was ordered." in result.stdout
    (order,) = lumen.sim.calls("create")
    assert (order.json["model"], order.json["length"], order.json["size"]) == ("small-1", 3, "640x360")
    assert "a video of 3 s, 640x360, with the model small-1: $0.30 ($0.1 a second)" in result.stderr
    assert lumen.sim.latest.id in result.stderr
    assert KEY not in result.output
    assert await asyncio.to_thread(film.read_bytes) == lumen.sim.video_bytes
    assert "queued → in_progress → completed" in result.stdout


@pytest.mark.usefixtures("no_pyav")
async def test_nothing_is_sent_before_the_price_is_agreed_to(lumen: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal and --yes, or with a no, the price was said and nothing was sent, not even a look."""
    silent = await lumen.test()
    assert (silent.exit_code, verdicts(silent)) == (1, [])
    assert "$0.30" in silent.stderr
    assert "--yes" in silent.stderr
    monkeypatch.setattr(plugin_trial, "has_terminal", lambda: True)
    declined = await lumen.test(answer="n\n")
    assert declined.exit_code == 1
    assert "$0.30" in declined.stderr
    assert "Nothing was sent." in declined.stderr
    assert lumen.sim.requests == []
    agreed = await lumen.test(answer="y\n")
    assert agreed.exit_code == 0, agreed.output
    assert "skip  The film plays" in agreed.stdout
    assert lumen.sim.paid == 1


async def test_an_unknown_price_is_said(lumen: Shop) -> None:
    """Where nobody knows the price, that stands in the place of it; that an entry is switched off is said too."""
    text = (await asyncio.to_thread(lumen.file.read_text)) + "    enabled: false\n"
    for price in UNPRICED:
        text = text.replace(price, "")
    await asyncio.to_thread(lumen.file.write_text, text)
    result = await lumen.test()
    assert "price not known" in result.stderr
    assert "Channel lumen is switched off" in result.stderr
    assert lumen.sim.requests == []


async def test_a_broken_order_is_never_sent_again(lumen: Shop) -> None:
    """Whatever the provider makes of the order, there is one; who ran this is told where to look for what was paid."""
    for sent, kind in enumerate(("reset_after_taking", "html_502", "no_id", "redirect_307", "cut_body"), 1):
        lumen.sim.fault(kind, on="create")
        result = await lumen.test("--yes")
        assert (result.exit_code, len(lumen.sim.calls("create"))) == (1, sent), kind
        assert verdicts(result) == ["ok", "FAIL", "ok"], kind
        assert "Nobody knows whether it was taken" in result.stdout
        assert "The provider may have one more order, sent as attempt att_" in result.stderr
        assert ("last answer: HTTP 502 <html>" in result.stdout) == (kind == "html_502")


@pytest.mark.parametrize("status", [400, 402, 429])
async def test_a_refused_order_is_never_sent_again(lumen: Shop, status: int) -> None:
    """A refusal, be it that the provider is busy, ends the run: nothing was paid."""
    lumen.sim.then(lumen.sim.error(status, f"Not so, {KEY}."), headers={"Retry-After": "7"}, on="create")
    result = await lumen.test("--yes")
    assert (result.exit_code, len(lumen.sim.calls("create")), lumen.sim.paid) == (1, 1, 0)
    assert "Nothing was paid for it." in result.stdout
    assert ("again in 7 s" in result.stdout) == (status == 429)
    assert f"last answer: HTTP {status} {{" in result.stdout
    assert KEY not in result.output


async def test_a_wrong_credential_orders_nothing(lumen: Shop) -> None:
    """What the provider does not let in is found out by a call that costs nothing."""
    lumen.sim.keys.clear()
    result = await lumen.test("--yes")
    assert (result.exit_code, verdicts(result)[0]) == (1, "FAIL")
    assert "Nothing was ordered." in result.stdout
    assert lumen.sim.calls("create") == []


async def test_bad_polls_and_a_failed_video(lumen: Shop) -> None:
    """Polls that break change nothing; a failed video is a broken law with the provider's words, and its id is told."""
    for fault in ("html_502", "empty_200", "reset_before_reply"):
        lumen.sim.fault(fault, on="fetch", times=1)
    lumen.sim.then(status=404, json={}, on="fetch")
    lumen.sim.mangle(
        lambda answer: {"task": {**answer["task"], "state": "rejected", "reason": f"No light, {KEY}"}}, on="fetch"
    )
    result = await lumen.test("--yes")
    assert (result.exit_code, lumen.sim.paid) == (1, 1)
    assert "No light, [secret]" in result.stdout
    assert f"The provider has this order: {lumen.sim.latest.id}" in result.stderr


async def test_content_that_breaks_is_a_broken_law(lumen: Shop) -> None:
    """A job that steps back and a film that is cut are told as broken laws; what was paid is told too."""
    lumen.sim.then(lumen.sim.error(404, "None of ours."), on="fetch")
    # The second free question, without the credential.
    lumen.sim.mangle(lambda answer: answer, on="fetch")
    for state in ("rendering", "waiting"):
        lumen.sim.mangle(lambda answer, state=state: {"task": {**answer["task"], "state": state}}, on="fetch")
    lumen.sim.cut_content_at = 0.5
    result = await lumen.test("--yes")
    assert (result.exit_code, lumen.sim.paid) == (1, 1)
    assert "FAIL  Its states only move forward.\n      queued → in_progress → queued" in result.stdout
    assert "FAIL  Its film arrives whole" in result.stdout
    assert f"The provider has this order: {lumen.sim.latest.id}" in result.stderr


async def test_a_film_that_cannot_be_kept_is_a_broken_law(
    lumen: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is one sentence beside the id of what was paid; the film is kept before anything is tried with it."""

    def full(film: Path, place: Path) -> None:
        raise OSError(28, "No space left on device")

    film = tmp_path / "film.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(plugin_live, "_copy", full)
        result = await lumen.test("--yes", "-o", str(film))
    assert (result.exit_code, lumen.sim.paid) == (1, 1)
    assert f"FAIL  The film is kept.\n      {film} cannot be written: No space left on device." in result.stdout
    assert f"The provider has this order: {lumen.sim.latest.id}" in result.stderr

    async def stopped(film: Path, *, last: bool) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(stills, "frame", stopped)
    result = await lumen.test("--yes", "-o", str(film))
    assert result.exit_code == plugin_trial.INTERRUPTED
    assert await asyncio.to_thread(film.read_bytes) == lumen.sim.video_bytes


@pytest.mark.usefixtures("no_pyav")
async def test_a_plugin_that_logs_its_key_breaks_a_law(tmp_path: Path) -> None:
    """What the product logs meanwhile is looked through for the credential."""
    plugin = tmp_path / "lumen.py"
    log = 'import logging; logging.getLogger("reelgate.lumen").info(self.options.api_key)'
    spoilt = f"{log}\n        return task(await self.upstream.get"
    text = (await asyncio.to_thread(LUMEN.read_text)).replace("return task(await self.upstream.get", spoilt)
    await asyncio.to_thread(plugin.write_text, text)
    async for shop in _shop(LumenSimulator(keys={KEY}), plugin, tmp_path):
        result = await shop.test("--yes")
    assert (result.exit_code, verdicts(result).count("FAIL")) == (1, 1)
    assert "FAIL  The credential stands in no error and no line of the log." in result.stdout
    assert KEY not in result.output


@pytest.mark.usefixtures("no_pyav")
async def test_further_orders_only_where_they_are_asked_for(atelier: Shop) -> None:
    """--remix and --extend are priced and paid beside the video; a lost answer is looked up where the plugin can."""
    plain = await atelier.test("--yes")
    assert (plain.exit_code, atelier.sim.paid) == (0, 1), plain.output
    assert "ok    recover() finds the order again." in plain.stdout
    atelier.sim.fault("reset_after_taking", on="create")
    both = await atelier.test("--yes", "--remix", "--extend")
    assert both.exit_code == 0, both.output
    assert [job.kind for job in atelier.sim.jobs.values()] == ["create", "create", "remix", "extend"]
    assert "recover() has found it." in both.stdout
    assert "In all $0.90." in both.stderr


async def test_what_the_plugin_cannot_do_is_not_ordered(lumen: Shop) -> None:
    """A remix that the provider does not make itself, or a model that there is not, is a sentence; nothing is sent."""
    for options in (["--remix"], ["--model", "nova"]):
        result = await lumen.test("--yes", *options)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert lumen.sim.requests == []


async def test_an_interrupt_tells_what_is_still_there(lumen: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle says which order the provider has, and that nothing is sent again."""
    lumen.sim.automatic = False

    def interrupted(words: str, **options: Any) -> None:
        # What the signal becomes inside `asyncio.run`.
        if words.startswith("The provider's id"):
            raise KeyboardInterrupt

    monkeypatch.setattr(plugin_trial, "_talk", interrupted)
    result = await lumen.test("--yes")
    assert result.exit_code == plugin_trial.INTERRUPTED
    assert f"The provider has this order: {lumen.sim.latest.id}" in result.stderr
    assert lumen.sim.paid == 1
