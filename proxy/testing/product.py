"""The laws that hold through the whole product: what a client of it sees of this plugin's channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from proxy import config as configuration
from proxy.api import SERVER_OPTIONS
from proxy.app import create_app
from proxy.engine.limits import default_seconds, default_size
from proxy.models import Model
from proxy.testing.bench import Kit, law, same
from proxy.testing.simulator import Simulator, SimulatorServer

ADMIN_KEY = "contract-admin-key-5e1f7c0b9a2d4863"
PATIENCE = 20
"""Seconds that a law waits for the engine at most."""


@dataclass(slots=True)
class Heard:
    """One answer of the product, as the client heard it."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)
    json: Any

    @property
    def code(self) -> str | None:
        """The code of an error envelope."""
        return self.json["error"]["code"] if isinstance(self.json, dict) and self.json.get("error") else None


@dataclass(slots=True)
class Product:
    """The running product, its client, and every answer that was heard."""

    sim: Simulator
    session: aiohttp.ClientSession
    model: str
    values: dict[str, Any]
    heard: list[Heard] = field(default_factory=list)

    async def call(self, method: str, path: str, **kwargs: Any) -> Heard:
        async with self.session.request(method, path, **kwargs) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            data = await response.json() if is_json else None
            self.heard.append(Heard(response.status, dict(response.headers), body, data))
            return self.heard[-1]

    async def create(self, **values: Any) -> Heard:
        body = {"prompt": "a paper boat", "model": self.model, **self.values, **values}
        return await self.call("POST", "/v1/videos", json=body)

    async def made(self, **values: Any) -> str:
        """The id of a video that the upstream took."""
        answer = await self.create(**values)
        assert answer.status == 200, f"the create answered {answer.status}: {answer.body[:500]!r}"
        return str(answer.json["id"])

    async def until(self, video_id: str, *statuses: str) -> Heard:
        """The video's first answer with one of `statuses`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.call("GET", f"/v1/videos/{video_id}")
                status = answer.json["status"]
                if status in statuses:
                    return answer
                assert status in ("queued", "in_progress"), f"the video ended as {status}: {answer.json['error']}"
                await asyncio.sleep(0.02)

    async def completed(self, **values: Any) -> str:
        """The id of a video that is completed."""
        video_id = await self.made(**values)
        self.sim.finish(self.sim.latest.id)
        await self.until(video_id, "completed")
        return video_id

    def everything(self) -> str:
        """All answers but the videos' own bytes, as one text."""
        parts = []
        for answer in self.heard:
            parts.append(f"{answer.status} {answer.headers}")
            if not answer.headers.get("Content-Type", "").startswith("video/"):
                parts.append(answer.body.decode("utf-8", "replace"))
        return "\n".join(parts)


class ProductLaws(Kit):
    """Laws about the plugin's channel behind the product's own API."""

    @asynccontextmanager
    async def product(self, folder: Path, *entries: Mapping[str, Any], **server: Any) -> AsyncIterator[Product]:
        """The whole product with one channel for each of `entries`, or with the contract's entry."""
        speed = {"poll_every": 0.05}
        async with SimulatorServer(self.make_simulator()) as sim:
            sim.automatic = False
            text = self.yaml(sim, *({**speed, **entry} for entry in entries or (self.entry,)), server=server)
            config = await asyncio.to_thread(configuration.parse, text, folder / "channels.yaml", {})
            app = create_app(
                config,
                data=folder / "data",
                plugin_folders=[self.folder()],
                admin_key=ADMIN_KEY,
                secret=b"contract" * 4,
            )
            server_under_test = TestServer(app)
            await server_under_test.start_server(**SERVER_OPTIONS)
            async with server_under_test:
                base = str(server_under_test.make_url("/"))
                headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
                async with aiohttp.ClientSession(base, headers=headers) as session:
                    model, limits = self.public_model()
                    values = {"seconds": str(default_seconds(limits)), "size": default_size(limits)}
                    yield Product(sim, session, model, values)

    def public_model(self) -> tuple[str, Model]:
        """A public model of the entry and what it can do."""
        cls = self.channel_class()
        named = self.entry.get("models") or list(cls.models)
        public = next(iter(named), "any-model")
        upstream = named[public] if isinstance(named, dict) else public
        upstream = upstream["upstream"] if isinstance(upstream, dict) else upstream
        return public, cls.models.get(upstream, cls.default_model)

    def check_discreet(self, product: Product, log: str) -> None:
        """No credential, upstream id or upstream address in any answer, no credential in the log."""
        said = product.everything()
        for secret in self.secrets():
            assert secret not in said, "the credential is in an answer"
            assert secret not in log, "the credential is in the log"
        for job_id in product.sim.jobs:
            assert job_id not in said, "the upstream's id is in an answer"
        for url in (product.sim.base_url, product.sim.files_url):
            assert url.partition("//")[2] not in said, "the upstream's address is in an answer"

    @law
    async def test_product_life_of_a_video(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Created, polled, completed, downloaded: the exact bytes arrive, and nothing of the upstream shows."""
        caplog.set_level(logging.DEBUG)
        async with self.product(tmp_path) as product:
            video_id = await product.made()
            assert product.sim.paid == 1
            early = await product.call("GET", f"/v1/videos/{video_id}/content")
            assert (early.status, early.code) == (404, "video_not_ready")
            product.sim.advance(product.sim.latest.id)
            product.sim.finish(product.sim.latest.id)
            video = await product.until(video_id, "completed")
            assert (video.json["progress"], video.json["error"]) == (100, None)
            content = await product.call("GET", f"/v1/videos/{video_id}/content")
            assert content.status == 200
            assert content.headers["Content-Type"] == "video/mp4"
            assert same(content.body, product.sim.content_of(product.sim.latest)), "the client got other bytes"
            assert product.sim.paid == 1, "more than one job was paid for"
            self.check_discreet(product, caplog.text)

    @law
    @pytest.mark.parametrize("honours_range", [True, False])
    async def test_product_ranges(self, tmp_path: Path, honours_range: bool) -> None:
        """Ranges from the start, to the end and of the last bytes are right, whether or not the upstream has them."""
        async with self.product(tmp_path) as product:
            video_id = await product.completed()
            product.sim.honours_range = honours_range
            whole = product.sim.content_of(product.sim.latest)
            size = len(whole)
            for wanted, first, last in (
                ("bytes=0-99", 0, 99),
                ("bytes=100-", 100, size - 1),
                ("bytes=-100", size - 100, size - 1),
                ("bytes=1000-1999", 1000, 1999),
            ):
                part = await product.call("GET", f"/v1/videos/{video_id}/content", headers={"Range": wanted})
                assert part.status == 206, f"{wanted} answered {part.status}"
                assert same(part.body, whole[first : last + 1]), f"{wanted} gave other bytes"
                assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
            beyond = {"Range": f"bytes={size}-"}
            none = await product.call("GET", f"/v1/videos/{video_id}/content", headers=beyond)
            assert (none.status, none.headers.get("Content-Range")) == (416, f"bytes */{size}")
            head = await product.call("HEAD", f"/v1/videos/{video_id}/content")
            assert (head.status, head.headers.get("Content-Length", str(size))) == (200, str(size))

    @law
    async def test_product_cut_content_breaks(self, tmp_path: Path) -> None:
        """Content that breaks upstream is a broken transfer for the client, never a clean short 200."""
        async with self.product(tmp_path) as product:
            video_id = await product.completed()
            product.sim.cut_content_at = 0.5
            try:
                answer = await product.call("GET", f"/v1/videos/{video_id}/content")
            except (aiohttp.ClientError, OSError):
                return
            # A film that came within the answer to a poll is here already.
            whole = answer.body == product.sim.content_of(product.sim.latest)
            assert whole or answer.status >= 400, f"a cut video came as a clean 200 of {len(answer.body)} bytes"

    @law
    @pytest.mark.parametrize("status", [401, 402, 403])
    async def test_product_account_refused(self, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int) -> None:
        """401, 402 and 403 from the upstream are a 502 that the SDK does not repeat; the client's key is fine."""
        caplog.set_level(logging.DEBUG)
        async with self.product(tmp_path) as product:
            sentence = f"No account for {' '.join(self.secrets())}"
            product.sim.then(product.sim.error(status, sentence), on="create")
            answer = await product.create()
            assert (answer.status, answer.code) == (502, "upstream_error")
            assert answer.headers.get("x-should-retry") == "false"
            assert len(product.sim.calls("create")) == 1
            self.check_discreet(product, caplog.text)

    @law
    async def test_product_refusal_is_discreet(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A 400 carries the provider's words to the client, without the key, the ids and the addresses in them."""
        caplog.set_level(logging.DEBUG)
        async with self.product(tmp_path) as product:
            await product.made()
            hidden = [*self.secrets(), product.sim.latest.id, f"{product.sim.base_url}/x?y=1"]
            product.sim.then(product.sim.error(400, f"Not this prompt: {' '.join(hidden)}"), on="create")
            answer = await product.create(prompt="another one")
            assert answer.status == 400
            assert "Not this prompt" in answer.json["error"]["message"]
            self.check_discreet(product, caplog.text)

    @law
    async def test_product_failure_is_discreet(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A failed video is a 200 with a code and a sentence without secrets; its content is a 4xx."""
        caplog.set_level(logging.DEBUG)
        async with self.product(tmp_path) as product:
            video_id = await product.made()
            job_id = product.sim.latest.id
            sentence = f"The lamp broke: {job_id} {' '.join(self.secrets())} {product.sim.base_url}/x"
            product.sim.fail(job_id, message=sentence)
            video = await product.until(video_id, "completed", "failed")
            assert video.json["status"] == "failed"
            assert isinstance(video.json["error"]["code"], str)
            assert video.json["error"]["message"]
            content = await product.call("GET", f"/v1/videos/{video_id}/content")
            assert 400 <= content.status < 500
            self.check_discreet(product, caplog.text)

    @law
    async def test_product_bad_polls_fail_nothing(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Polls that break in every way, one after the other, leave the video alive; it is completed in the end."""
        caplog.set_level(logging.DEBUG)
        faults = ("html_502", "empty_200", "cut_body", "reset_before_reply")
        async with self.product(tmp_path) as product:
            for fault in faults:
                product.sim.fault(fault, on="fetch")
            video_id = await product.completed()
            assert {answer.json["status"] for answer in product.heard if answer.json} <= {
                "queued",
                "in_progress",
                "completed",
            }
            assert len(product.sim.calls("fetch")) > len(faults)
            assert (await product.call("GET", f"/v1/videos/{video_id}/content")).status == 200
            self.check_discreet(product, caplog.text)

    @law
    @pytest.mark.parametrize("kind", ["reset_after_taking", "cut_body", "no_id"])
    async def test_product_pays_once(self, tmp_path: Path, kind: str) -> None:
        """A submission of unknown outcome is never sent again: the client sees a queued video, or no retry is asked."""
        async with self.product(tmp_path) as product:
            product.sim.fault(kind, on="create")
            answer = await product.create()
            if answer.status == 200:
                assert answer.json["status"] in ("queued", "in_progress")
            else:
                assert answer.headers.get("x-should-retry") == "false"
            # A second create shows that the engine had its turn.
            await product.completed(prompt="another one")
            assert product.sim.paid == 2, "the first video was paid for more than once"
            assert len(product.sim.calls("create")) == 2

    @law
    async def test_product_remix_is_pinned(self, tmp_path: Path) -> None:
        """Among two accounts, a remix goes to the one that made its source, or the answer says that none can."""
        names = ("first", "second")
        async with self.product(
            tmp_path, {**self.entry, "name": names[0], "priority": 1}, {**self.second_entry(), "name": names[1]}
        ) as product:
            preferred = await product.completed()
            first_account = product.sim.latest.account
            # The preferred account is full for one create, so that the other one makes the second source.
            product.sim.then(product.sim.error(403, "Not this account."), on="create")
            other = await product.completed(prompt="another one")
            second_account = product.sim.latest.account
            assert first_account != second_account, "both sources were made by one account: check second_entry()"
            for source, account in ((preferred, first_account), (other, second_account)):
                before = product.sim.paid
                answer = await product.call("POST", f"/v1/videos/{source}/remix", json={"prompt": "at night"})
                if answer.status != 200:
                    assert answer.code in ("remix_unsupported", "unsupported_operation"), answer.body
                    assert product.sim.paid == before
                    continue
                assert answer.json["remixed_from_video_id"] == source
                ordered = product.sim.paid - before
                assert ordered == 1, (
                    f"the remix was taken, and the upstream was paid for {ordered} orders; the log says why"
                )
                assert product.sim.latest.account == account, "the remix went to another account than its source's"

    @law
    async def test_product_delete(self, tmp_path: Path) -> None:
        """A deleted video is gone for the client, and for the upstream where the channel can delete."""
        async with self.product(tmp_path) as product:
            video_id = await product.completed()
            gone = await product.call("DELETE", f"/v1/videos/{video_id}")
            assert (gone.status, gone.json) == (200, {"id": video_id, "object": "video.deleted", "deleted": True})
            for path in (f"/v1/videos/{video_id}", f"/v1/videos/{video_id}/content"):
                assert (await product.call("GET", path)).status == 404
            if self.channel_class().can("delete"):
                assert product.sim.latest.removed, "the result is still at the upstream"

    @law
    async def test_product_delete_of_a_running_video(self, tmp_path: Path) -> None:
        """A running video is cancelled at the upstream where the channel can, else it is not deletable."""
        async with self.product(tmp_path) as product:
            video_id = await product.made()
            product.sim.advance(product.sim.latest.id)
            await product.until(video_id, "in_progress")
            answer = await product.call("DELETE", f"/v1/videos/{video_id}")
            made = product.sim.latest
            if self.cancels_running and self.channel_class().can("cancel"):
                assert answer.status == 200
                assert made.cancelled or made.removed, "the job still runs at the upstream"
            else:
                assert (answer.status, answer.code) == (400, "video_not_deletable")
