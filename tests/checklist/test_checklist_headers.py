"""openai-videos.md §8, 47, 84, 85 and 96: tenants, headers, models, methods that change nothing."""

from __future__ import annotations

import time

import openai

from proxy.accounts.keys import mint
from proxy.app import WIRING
from proxy.store import Store
from tests.checklist.desk import UNKNOWN_ID, UPSTREAM_KEY, Desk
from tests.conftest import ADMIN_KEY


async def key_of_another(desk: Desk) -> str:
    """A good key of another tenant."""
    store: Store = desk.product.server.app[WIRING].engine._core.store
    plain, key, digest = mint("other", now=time.time())
    await store.add_key(key, digest)
    return plain


async def test_047_another_tenant(desk: Desk) -> None:
    """Someone else's video is a 404 on every route, never a 403, and not in the list."""
    video = await desk.completed()
    other = await key_of_another(desk)
    one = f"/v1/videos/{video['id']}"
    body = {"prompt": "x"}
    for method, path, kwargs in (
        ("GET", one, {}),
        ("GET", f"{one}/content", {}),
        ("DELETE", one, {}),
        ("DELETE", f"{one}?force=true", {}),
        ("POST", f"{one}/remix", {"json": body}),
        ("POST", "/v1/videos/edits", {"json": {**body, "video": {"id": video["id"]}}}),
        ("POST", "/v1/videos/extensions", {"json": {**body, "seconds": "4", "video": {"id": video["id"]}}}),
        ("GET", f"/v1/video/generations/{video['id']}", {}),
    ):
        status, answer, _ = await desk.call(method, path, key=other, **kwargs)
        assert (status, answer["error"]["code"]) == (404, "video_not_found"), (method, path)
    assert (await desk.call("GET", "/v1/videos", key=other))[1]["data"] == []
    assert await desk.listed() == [video["id"]]


SDK_HEADERS = {
    "x-stainless-lang": "python",
    "x-stainless-package-version": "3.54.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
    "X-Stainless-Poll-Helper": "true",
    "X-Stainless-Custom-Poll-Interval": "50",
    "X-Stainless-Raw-Response": "true",
    "openai-organization": "org-secret-of-the-client",
    "openai-project": "proj-secret-of-the-client",
    "accept-language": "*",
    "sec-fetch-mode": "cors",
    "user-agent": "OpenAI/Python 3.54.0",
    "cookie": "session=secret-of-the-client",
    "x-forwarded-for": "203.0.113.9",
}


async def test_084_headers_stay_here(desk: Desk) -> None:
    """The SDKs' headers cause no errors, and no header of a client reaches the upstream; nor does its key."""
    for values in (SDK_HEADERS, dict.fromkeys(SDK_HEADERS, ""), dict.fromkeys(SDK_HEADERS, "ü" * 50)):
        status, video, _ = await desk.call("POST", "/v1/videos", json={"prompt": "x"}, headers=values)
        assert status == 200, video
        desk.sim.finish(desk.sim.latest.id)
        await desk.product.done(video["id"])
        for path in ("", "/content"):
            status, _, _ = await desk.call("GET", f"/v1/videos/{video['id']}{path}", headers=values)
            assert status == 200
    sent = [call.headers for call in desk.sim.requests]
    assert sent
    for headers in sent:
        assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert headers["user-agent"] == "reelgate"
        ours = {"user-agent", "x-reelgate-hops"}
        assert not {name for name in headers if name.startswith("x-") or name in SDK_HEADERS} - ours
        assert "secret-of-the-client" not in str(headers)
        assert ADMIN_KEY not in str(headers)


async def test_085_models(desk: Desk) -> None:
    """GET /models lists the video models in the form of the newest SDK, one by one too."""
    status, page, _ = await desk.call("GET", "/v1/models")
    assert (status, page["object"]) == (200, "list")
    assert [model["id"] for model in page["data"]] == ["sora-2", "sora-2-pro"]
    for model in page["data"]:
        assert set(model) > {"id", "object", "created", "owned_by", "shutdown_date"}
        assert (model["object"], type(model["created"]), model["shutdown_date"]) == ("model", int, None)
        assert (await desk.call("GET", f"/v1/models/{model['id']}"))[1] == model

    def by_sdk(client: openai.OpenAI) -> list[str]:
        return [client.models.retrieve(model.id).id for model in client.models.list()]

    assert await desk.sdk(by_sdk) == ["sora-2", "sora-2-pro"]
    await desk.refused("GET", "/v1/models/sora-9", 404, code="model_not_found")
    assert desk.sim.requests == []


async def test_096_nothing_is_made(desk: Desk) -> None:
    """HEAD and OPTIONS create and charge nothing, and a HEAD of content never goes upstream as one."""
    video = await desk.completed()
    before = desk.sim.paid, await desk.listed(), len(desk.sim.calls("create"))
    for method in ("HEAD", "OPTIONS"):
        for path in (
            "/v1/videos",
            "/videos",
            "/v1/videos/edits",
            "/v1/videos/extensions",
            "/v1/videos/characters",
            "/v1/video/generations",
            f"/v1/videos/{video['id']}",
            f"/v1/videos/{video['id']}/remix",
            f"/v1/videos/{video['id']}/content",
            f"/v1/videos/{UNKNOWN_ID}",
        ):
            status, _, _ = await desk.call(method, path, json={"prompt": "x", "seconds": "4"})
            assert status in (200, 404, 405), (method, path)
    assert (desk.sim.paid, await desk.listed(), len(desk.sim.calls("create"))) == before
    assert {call.method for call in desk.sim.requests} == {"POST", "GET"}
