"""The routes of videos, over real HTTP."""

from __future__ import annotations

import re

import pytest

from proxy.api import API
from proxy.errors import ChannelUnavailable, InsufficientQuota, RateLimited, Stopping, Throttled, UpstreamError
from tests.api.conftest import Surface
from tests.api.memory import BERT

KEYS_OF_OPENAI = {
    "id",
    "object",
    "model",
    "status",
    "progress",
    "created_at",
    "completed_at",
    "expires_at",
    "prompt",
    "size",
    "seconds",
    "remixed_from_video_id",
    "error",
}


async def test_create_answers_with_the_whole_video_object(surface: Surface) -> None:
    """A new video shows OpenAI's thirteen keys, nulls included, and task_id; nothing else."""
    status, video, headers = await surface.call(
        "POST", "/v1/videos", json={"model": "sora-2", "prompt": "a plane", "seconds": "8", "size": "1280x720"}
    )
    assert status == 200
    assert set(video) == KEYS_OF_OPENAI | {"task_id"}
    assert video["task_id"] == video["id"]
    assert (video["object"], video["status"], video["progress"]) == ("video", "queued", 0)
    assert (video["seconds"], video["size"], video["model"], video["prompt"]) == ("8", "1280x720", "sora-2", "a plane")
    assert video["completed_at"] is video["expires_at"] is video["remixed_from_video_id"] is video["error"] is None
    assert headers["openai-poll-after-ms"] == "25"
    assert headers["content-type"] == "application/json"
    surface.app[API].receipts.judge()
    assert surface.engine.delivered_ids == [video["id"]]


async def test_metadata_is_echoed_as_sent_and_only_then(surface: Surface) -> None:
    """The object shows metadata exactly when the client gave some."""
    sent = {"a": [1, 2.5, None, {"ü": "✓"}], "n": 1}
    _, video, _ = await surface.call("POST", "/v1/videos", json={"prompt": "p", "metadata": sent})
    assert video["metadata"] == sent
    _, shown, _ = await surface.call("GET", f"/v1/videos/{video['id']}")
    assert shown["metadata"] == sent


async def test_a_completed_video_has_a_link_and_no_poll_header(surface: Surface) -> None:
    """video_url comes with completion, is absolute, works without a key, and stays the same for now."""
    video = surface.engine.add()
    _, before, headers = await surface.call("GET", f"/v1/videos/{video.id}")
    assert "video_url" not in before
    assert headers["openai-poll-after-ms"] == "25"
    surface.engine.finish(video.id)
    _, shown, headers = await surface.call("GET", f"/v1/videos/{video.id}")
    assert "openai-poll-after-ms" not in headers
    assert shown["progress"] == 100
    assert shown["video_url"].startswith(f"{surface.url}/v1/videos/{video.id}/content?")
    _, again, _ = await surface.call("GET", f"/v1/videos/{video.id}")
    assert again["video_url"] == shown["video_url"]
    async with surface.session.get(shown["video_url"]) as response:
        assert (response.status, response.content_type) == (200, "video/mp4")


async def test_a_host_that_cannot_stand_in_a_url_gives_no_link(surface: Surface) -> None:
    """A Host header with markup in it never gets into an answer."""
    video = surface.engine.finish(surface.engine.add().id)
    status, shown, _ = await surface.call("GET", f"/v1/videos/{video.id}", headers={"Host": 'evil"><script>'})
    assert status in (200, 400)
    assert "video_url" not in shown


async def test_a_failed_video_is_a_200_with_two_texts(surface: Surface) -> None:
    """A failed video answers 200 with an error of code and message, both texts."""
    video = surface.engine.add(
        stage="ended", status="failed", error_code="moderation_blocked", error_message="Blocked."
    )
    status, shown, _ = await surface.call("GET", f"/v1/videos/{video.id}")
    assert status == 200
    assert shown["error"] == {"code": "moderation_blocked", "message": "Blocked."}


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_foreign_video_is_an_unknown_one(surface: Surface, in_memory: bool) -> None:
    """Someone else's, a deleted and an unknown video answer alike on every route, also when it is in memory."""
    surface.engine.in_memory = in_memory
    foreign = surface.engine.add(BERT).id
    deleted = surface.engine.add(stage="deleted").id
    unknown = "video_" + "0" * 32
    for method, tail, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/content", None),
        ("POST", "/remix", {"prompt": "again"}),
    ):
        answers = []
        for video_id in (foreign, deleted, unknown):
            status, answer, headers = await surface.call(method, f"/v1/videos/{video_id}{tail}", json=body)
            assert headers["content-type"] == "application/json"
            answers.append((status, repr(answer).replace(video_id, "ID")))
        assert len(set(answers)) == 1
        assert answers[0][0] == 404
        assert "Video with id \\'ID\\' not found." in answers[0][1] or "Video with id 'ID' not found." in answers[0][1]


async def test_list_pages(surface: Surface) -> None:
    """Pages follow each other through `after`, newest first, and an empty list has null ends."""
    _, empty, _ = await surface.call("GET", "/v1/videos")
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    ids = [surface.engine.add().id for _ in range(5)]
    surface.engine.add(BERT)
    _, first, _ = await surface.call("GET", "/v1/videos?limit=3")
    assert [video["id"] for video in first["data"]] == ids[:1:-1]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[4], ids[2], True)
    _, second, _ = await surface.call("GET", f"/v1/videos?limit=3&after={first['last_id']}")
    assert [video["id"] for video in second["data"]] == [ids[1], ids[0]]
    assert second["has_more"] is False
    _, ascending, _ = await surface.call("GET", "/videos?order=asc&limit=2")
    assert [video["id"] for video in ascending["data"]] == ids[:2]


async def test_delete_answers_exactly(surface: Surface) -> None:
    """A delete answers with three keys, takes the SDK's content type without a body, and passes `force` on."""
    video = surface.engine.add()
    status, answer, _ = await surface.call(
        "DELETE", f"/v1/videos/{video.id}", headers={"Content-Type": "application/json"}
    )
    assert (status, answer) == (200, {"id": video.id, "object": "video.deleted", "deleted": True})
    assert (await surface.call("GET", f"/v1/videos/{video.id}"))[0] == 404
    other = surface.engine.add()
    assert (await surface.call("DELETE", f"/v1/videos/{other.id}?force=true"))[0] == 200
    assert surface.engine.forced == [False, True]


async def test_remix_edit_and_extend(surface: Surface) -> None:
    """The three follow-ups take JSON and forms, and name their source."""
    source = surface.engine.finish(surface.engine.add().id)
    _, remix, _ = await surface.call("POST", f"/v1/videos/{source.id}/remix", json={"prompt": "at night"})
    assert (remix["remixed_from_video_id"], remix["status"]) == (source.id, "queued")
    _, remix, _ = await surface.call("POST", f"/v1/videos/{source.id}/remix", data={"prompt": "as a form"})
    assert remix["prompt"] == "as a form"
    _, edit, _ = await surface.call("POST", "/v1/videos/edits", json={"prompt": "p", "video": {"id": source.id}})
    assert edit["remixed_from_video_id"] is None
    form = {"prompt": "p", "video[id]": source.id, "seconds": "8"}
    _, extension, _ = await surface.call("POST", "/v1/videos/extensions", data=form)
    assert extension["seconds"] == "8"
    assert [received.ask.kind for received in surface.engine.received] == ["remix", "remix", "edit", "extend"]
    assert {received.ask.source_id for received in surface.engine.received} == {source.id}


async def test_replay_of_an_idempotency_key(surface: Surface) -> None:
    """The same key and body get the same bytes again; another body is refused; a bad key is named."""
    headers = {"Idempotency-Key": "order 1"}
    _, first, _ = await surface.call("POST", "/v1/videos", json={"prompt": "p"}, headers=headers)
    surface.engine.finish(first["id"])
    _, again, _ = await surface.call("POST", "/v1/videos", json={"prompt": "p"}, headers=headers)
    assert again == first
    status, other, _ = await surface.call("POST", "/v1/videos", json={"prompt": "q"}, headers=headers)
    assert (status, other["error"]["code"]) == (400, "idempotency_key_reused")
    for bad in ("", "x" * 256, "käse"):
        status, refused, _ = await surface.call(
            "POST", "/v1/videos", json={"prompt": "p"}, headers={"Idempotency-Key": bad}
        )
        assert (status, refused["error"]["param"]) == (400, "Idempotency-Key")


async def test_a_list_of_the_video_of_an_idempotency_key(surface: Surface) -> None:
    """The list can be that of one Idempotency-Key, which it names then; it pages like any other."""
    _, made, _ = await surface.call("POST", "/v1/videos", json={"prompt": "p"}, headers={"Idempotency-Key": "a b"})
    await surface.call("POST", "/v1/videos", json={"prompt": "p"})

    async def ids(**query: str) -> list[str]:
        _, page, _ = await surface.call("GET", "/v1/videos", params={"idempotency_key": "a b", **query})
        assert (page["has_more"], page["idempotency_key"]) == (False, query.get("idempotency_key", "a b"))
        return [video["id"] for video in page["data"]]

    assert await ids() == await ids(limit="1", order="asc") == [made["id"]]
    assert await ids(idempotency_key="a c") == await ids(limit="0") == await ids(after=made["id"]) == []
    assert "idempotency_key" not in (await surface.call("GET", "/v1/videos"))[1]
    for bad in ("", "x" * 256, "käse"):
        status, refused, _ = await surface.call("GET", "/v1/videos", params={"idempotency_key": bad})
        assert (status, refused["error"]["param"]) == (400, "idempotency_key")


async def test_a_resent_post_is_marked(surface: Surface) -> None:
    """The SDKs' own retry count reaches the engine, and equal bodies have equal fingerprints however they are sent."""
    await surface.call("POST", "/v1/videos", json={"prompt": "p", "seconds": 4, "n": 1})
    await surface.call("POST", "/v1/videos", json={"seconds": "4", "n": 1, "prompt": "p"})
    retry = {"x-stainless-retry-count": "1"}
    await surface.call("POST", "/v1/videos", data={"prompt": "p", "seconds": "4", "n": "1"}, headers=retry)
    await surface.call("POST", "/v1/videos", json={"prompt": "p", "seconds": 8, "n": 1})
    received = surface.engine.received
    assert [one.resent for one in received] == [False, False, True, False]
    assert len({one.ask.fingerprint for one in received[:3]}) == 1
    assert received[3].ask.fingerprint != received[0].ask.fingerprint


async def test_adjusted_values_are_told(surface: Surface) -> None:
    """What `mapping: nearest` changed is in a header."""
    surface.engine.adjusted = "seconds=7"
    _, _, headers = await surface.call("POST", "/v1/videos", json={"prompt": "p", "seconds": 7})
    assert headers["x-reelgate-adjusted"] == "seconds=7"


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (UpstreamError("no"), 502, {"x-should-retry": "false"}),
        (Throttled("busy", retry_after=7.2), 429, {"retry-after": "8", "retry-after-ms": "7200"}),
        (RateLimited("slow", retry_after=500), 429, {"retry-after": "60", "retry-after-ms": "60000"}),
        (Stopping("bye", retry_after=0.5), 503, {"retry-after": "1"}),
        (InsufficientQuota("empty"), 429, {"x-should-retry": "false"}),
        (ChannelUnavailable("gone"), 503, {"x-should-retry": "false"}),
        (RuntimeError("secret cause"), 500, {"x-should-retry": "false"}),
    ],
)
async def test_errors_become_envelopes(
    surface: Surface, error: Exception, status: int, expected: dict[str, str]
) -> None:
    """Every error of an order is an envelope of four keys, with the headers that the SDKs obey."""
    surface.engine.fail = error
    got, answer, headers = await surface.call("POST", "/v1/videos", json={"prompt": "p"})
    assert got == status
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert "secret cause" not in repr(answer)
    assert {name: headers.get(name) for name in expected} == expected
    if status in (429, 503) and "x-should-retry" not in expected:
        assert "x-should-retry" not in headers
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])


async def test_models(surface: Surface) -> None:
    """Models are listed in OpenAI's form with what each can do, found by id also with a slash, and described alone."""
    _, models, _ = await surface.call("GET", "/v1/models")
    assert models["object"] == "list"
    _, capabilities, _ = await surface.call("GET", "/v1/videos/models")
    assert models["data"] == [
        {
            **can,
            "object": "model",
            "created": 1_767_225_600,
            "owned_by": "reelgate",
            "shutdown_date": None,
        }
        for can in capabilities["data"]
    ]
    for path in ("/v1/models/vendor/model-1", "/v1/models/vendor%2Fmodel-1"):
        status, model, _ = await surface.call("GET", path)
        assert (status, model["id"]) == (200, "vendor/model-1")
    status, missing, _ = await surface.call("GET", "/v1/models/none")
    assert (status, missing["error"]["code"]) == (404, "model_not_found")
    assert (capabilities["data"][0]["id"], capabilities["data"][0]["object"]) == ("sora-2", "video.model")
    assert capabilities["data"][0]["supported_seconds"] == ["4", "8"]
    assert capabilities["data"][0]["supported_extension_seconds"] == ["4", "12"]
    assert capabilities["data"][0]["price_per_second"] == 0.1
    assert capabilities["data"][0]["prices_per_second"] == {"1080p": 0.2}
    assert (capabilities["data"][0]["max_images"], capabilities["data"][0]["last_frame"]) == (1, False)


async def test_health_is_public(surface: Surface) -> None:
    """The probes need no key, and readyz follows the state."""
    assert (await surface.call("GET", "/healthz", key=None))[0] == 200
    assert (await surface.call("GET", "/readyz", key=None))[0] == 200
    surface.state.ready = False
    assert (await surface.call("GET", "/readyz", key=None))[0] == 503
    assert (await surface.call("GET", "/healthz", key=None))[0] == 200
