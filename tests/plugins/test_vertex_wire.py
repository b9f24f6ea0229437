"""What plugins/vertex.py sends, field by field, and how it reads what is answered."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.vertex import Vertex, VertexOptions
from proxy import (
    AccountRefused,
    ApiError,
    Clip,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Outcome,
    Reply,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)
from proxy.testing.bench import PROMPT, picture
from proxy.upstream import submission
from tests.plugins.vertex_bench import vertex
from tests.simulators.google import EMAIL, service_account
from tests.simulators.vertex import FILTERED

USUAL = {"sampleCount": 1, "durationSeconds": 8, "aspectRatio": "16:9", "resolution": "720p", "generateAudio": True}
PLACE = "projects/reelgate-test/locations/us-central1/publishers/google/models/veo-3.1-generate-001"
IMAGE = picture("1280x720")
SENT = {"bytesBase64Encoded": IMAGE.base64, "mimeType": "image/png"}


def envelope(status: int, message: str, word: str, **more: Any) -> dict[str, Any]:
    """An error as Google says it."""
    return {"error": {"code": status, "message": message, "status": word, **more}}


async def test_a_plain_create(tmp_path: Path) -> None:
    """A create without extras sends the prompt and one video's parameters, to the model's own path with a token."""
    async with vertex(tmp_path) as v:
        assert await v.sent() == {"instances": [{"prompt": PROMPT}], "parameters": USUAL}
        (call,) = v.sim.calls("create")
        assert call.path == f"/v1/{PLACE}:predictLongRunning"
        assert call.headers["authorization"].startswith("Bearer ya29.")


async def test_everything_that_a_request_may_have(tmp_path: Path) -> None:
    """Pictures, seed, negative prompt and silence have their fields; metadata joins the parameters, never over ours."""
    metadata = {"personGeneration": "allow_all", "compressionQuality": "lossless", "seed": 1, "sampleCount": 4}
    async with vertex(tmp_path) as v:
        sent = await v.sent(
            images=(IMAGE,),
            last_frame=IMAGE,
            seed=7,
            negative_prompt="rain",
            audio=False,
            seconds=6,
            size="1080x1920",
            metadata=metadata,
        )
    assert sent["instances"] == [{"prompt": PROMPT, "image": SENT, "lastFrame": SENT}]
    assert sent["parameters"] == {
        "personGeneration": "allow_all",
        "compressionQuality": "lossless",
        "sampleCount": 1,
        "durationSeconds": 6,
        "aspectRatio": "9:16",
        "resolution": "1080p",
        "seed": 7,
        "negativePrompt": "rain",
        "generateAudio": False,
    }


async def test_several_pictures_are_references(tmp_path: Path) -> None:
    """Two pictures show what the video is about; with them Veo makes 8 seconds of 16:9 and takes no last frame."""
    async with vertex(tmp_path) as v:
        sent = await v.sent(images=(IMAGE, IMAGE))
        reference = {"image": SENT, "referenceType": "asset"}
        assert sent["instances"] == [{"prompt": PROMPT, "referenceImages": [reference, reference]}]
        request = v.bench.request(images=(IMAGE, IMAGE))
        v.channel.check(request)
        for wrong, param in (
            ({"seconds": 4}, "seconds"),
            ({"size": "720x1280"}, "size"),
            ({"last_frame": IMAGE}, "last_frame"),
        ):
            with pytest.raises(InvalidRequest) as caught:
                v.channel.check(replace(request, **wrong))
            assert caught.value.param == param


@pytest.mark.parametrize(
    ("kind", "changes", "param"),
    [
        ("create", {"last_frame": IMAGE}, "last_frame"),
        ("create", {"seed": -1}, "seed"),
        ("create", {"seed": 2**32}, "seed"),
        ("extend", {"video": Clip(Path("clip.webm"), "video/webm")}, "video"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(
    tmp_path: Path, kind: Any, changes: dict[str, Any], param: str
) -> None:
    """What Veo would refuse is refused with the field to blame."""
    async with vertex(tmp_path) as v:
        with pytest.raises(InvalidRequest) as caught:
            v.channel.check(v.bench.request(kind, **changes))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("size", "ratio", "word"),
    [("1280x720", "16:9", "720p"), ("1920x1080", "16:9", "1080p"), ("2160x3840", "9:16", "4k")],
)
async def test_sizes_become_words(tmp_path: Path, size: str, ratio: str, word: str) -> None:
    """A size is a ratio and a resolution."""
    async with vertex(tmp_path) as v:
        sent = (await v.sent(size=size))["parameters"]
    assert (sent["aspectRatio"], sent["resolution"]) == (ratio, word)


async def test_a_model_that_nobody_knows(tmp_path: Path) -> None:
    """Of a model that the plugin does not know nothing is said about sound unless it was asked for."""
    async with vertex(tmp_path, models=["veo-9"]) as v:
        v.sim.models["veo-9"] = v.sim.models["veo-3.1-generate-001"]
        assert "generateAudio" not in (await v.sent())["parameters"]
        assert (await v.sent(audio=True))["parameters"]["generateAudio"] is True


async def test_project_location_and_storage(tmp_path: Path) -> None:
    """The entry's project and location are in the path, and its storage is where results go, whatever metadata says."""
    entry = {"project": "another", "location": "europe-west4", "storage": "gs://films/of/ours"}
    async with vertex(tmp_path, **entry) as v:
        v.sim.grants.add((EMAIL, "another"))
        sent = await v.sent(metadata={"storageUri": "gs://someone/else"})
        assert sent["parameters"]["storageUri"] == "gs://films/of/ours"
        assert v.sim.latest.id.startswith("projects/another/locations/europe-west4/")
        assert (await v.bench.completed()).status == "completed"
    assert {"storageuri", "pubsubtopic", "samplecount"} <= Vertex.priced_metadata


async def test_an_object_is_asked_for_by_its_own_path(tmp_path: Path) -> None:
    """A film in a bucket is read from the storage's origin, its name as one step of the path, with the token."""
    job = UpstreamJob(f"{PLACE}/operations/1", "completed", facts={"gcs": "gs://films/of ours/ä/1.mp4"})
    async with vertex(tmp_path) as v:
        source = await v.channel.content(job, "video")
        assert source.url == "https://storage.googleapis.com/storage/v1/b/films/o/of%20ours%2F%C3%A4%2F1.mp4?alt=media"
        assert source.headers == {"Authorization": f"Bearer {v.channel.tokens.current}"}
        with pytest.raises(UnsupportedOperation):
            await v.channel.content(job, "thumbnail")


async def test_an_extension_names_its_film(tmp_path: Path) -> None:
    """An extension sends the film, from a source within an answer or an upload, or its address; its length is Veo's."""
    clip = tmp_path / "clip.mp4"
    async with vertex(tmp_path) as v:
        await asyncio.to_thread(clip.write_bytes, v.sim.video_bytes)
        source = await v.bench.completed()
        film = {"bytesBase64Encoded": base64.b64encode(v.sim.video_bytes).decode(), "mimeType": "video/mp4"}
        stored = replace(source, facts={"gcs": "gs://films/1.mp4"})
        for origin, upload, video in (
            (source, None, film),
            (None, Clip(clip), film),
            (stored, None, {"gcsUri": "gs://films/1.mp4", "mimeType": "video/mp4"}),
        ):
            sent = await v.sent("extend", origin, video=upload)
            assert sent["instances"] == [{"prompt": PROMPT, "video": video}]
            assert sent["parameters"] == {name: value for name, value in USUAL.items() if name != "durationSeconds"}
        with pytest.raises(UnsupportedOperation, match="720p"):
            v.channel.check(v.bench.request("extend", size="1920x1080"))


async def test_a_source_that_cannot_be_had_costs_nothing(tmp_path: Path) -> None:
    """What goes wrong at the look at a source is before the order: nobody need ask whether it was taken."""
    async with vertex(tmp_path) as v:
        source = await v.bench.completed()
        v.sim.then(json={"name": source.id, "done": True, "response": {}}, on="fetch")
        with submission(), pytest.raises(UpstreamError) as caught:
            await v.channel.extend(v.bench.request("extend"), source)
        assert caught.value.outcome is Outcome.REFUSED
        assert v.sim.calls("extend") == []


async def test_a_short_film_is_a_text(tmp_path: Path) -> None:
    """Base64 that is too short for a file is decoded when the content is asked for; what is broken is an error."""
    async with vertex(tmp_path) as v:
        job = await v.bench.submit()
        v.sim.latest.content = b"\0\0\0\x18ftypmp42 short"
        v.sim.finish(job.id)
        found = await v.channel.fetch(job)
        assert (found.status, found.film) == ("completed", None)
        assert (await v.channel.content(found, "video")).data == b"\0\0\0\x18ftypmp42 short"
        broken = {"name": job.id, "done": True, "response": {"videos": [{"bytesBase64Encoded": "***"}]}}
        v.sim.then(json=broken, on="fetch")
        with pytest.raises(UpstreamError, match="broken"):
            await v.channel.content(found, "video")


async def test_a_film_that_was_held_back(tmp_path: Path) -> None:
    """Done without a film: the filter's reasons are moderation, no reason at all fails nothing."""
    async with vertex(tmp_path) as v:
        job = await v.bench.submit()
        v.sim.moderate(job.id)
        assert (await v.channel.fetch(job)).error == JobError("moderation_blocked", FILTERED)
        v.sim.put(job.id, "empty", means="completed")
        with pytest.raises(UpstreamError, match="neither"):
            await v.channel.fetch(job)
        counted = {"name": job.id, "done": True, "response": {"raiMediaFilteredCount": 1}}
        v.sim.then(json=counted, on="fetch")
        found = (await v.channel.fetch(job)).error
        assert found is not None
        assert found.code == "moderation_blocked"


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ({"code": 13, "message": "Broke at projects/p-1/locations/x."}, JobError("upstream_failed", "Broke at [id]")),
        (
            {"code": 7, "message": f"{EMAIL} may not write to bucket films-of-ours in reelgate-test (project 77123)."},
            JobError("upstream_failed", "[id] may not write to bucket [id] in [id] ([id])."),
        ),
        ({"code": 8}, JobError("upstream_failed", "The upstream gave no reason.")),
        (
            {"code": 3, "message": "It violates Google's Responsible AI practices."},
            JobError("moderation_blocked", "It violates Google's Responsible AI practices."),
        ),
    ],
)
async def test_an_operation_that_failed(tmp_path: Path, error: dict[str, Any], found: JobError) -> None:
    """An operation's error fails the job with Google's sentence, without the names of project, account and bucket."""
    async with vertex(tmp_path, storage="gs://films-of-ours/x") as v:
        job = await v.bench.submit()
        v.sim.then(json={"name": job.id, "done": True, "error": error}, on="fetch")
        assert (await v.channel.fetch(job)).error == found


@pytest.mark.parametrize(
    ("status", "word", "message", "kind"),
    [
        (400, "INVALID_ARGUMENT", "Bad ratio.", InvalidRequest),
        (400, "INVALID_ARGUMENT", "The prompt violates our usage guidelines.", ModerationBlocked),
        (400, "FAILED_PRECONDITION", "Billing is off.", AccountRefused),
        (401, "UNAUTHENTICATED", "Who?", AccountRefused),
        (403, "PERMISSION_DENIED", "No.", AccountRefused),
        (404, "NOT_FOUND", "veo is no longer available.", UpstreamGone),
        (429, "RESOURCE_EXHAUSTED", "Slow down.", Throttled),
    ],
)
async def test_refusals(tmp_path: Path, status: int, word: str, message: str, kind: type[ApiError]) -> None:
    """Moderation, bad input, the account, a model that is gone and throttling are told apart."""
    async with vertex(tmp_path) as v:
        v.sim.then(status=status, json=envelope(status, message, word), on="create")
        with pytest.raises(kind) as caught:
            await v.bench.submit()
    assert type(caught.value) is kind or kind is AccountRefused
    assert (message in str(caught.value)) is (kind not in (AccountRefused, Throttled))


async def test_a_refusal_names_no_project(tmp_path: Path) -> None:
    """The operator's project stays out of what a client is told."""
    async with vertex(tmp_path) as v:
        said = envelope(400, "Veo is not allowed for reelgate-test here.", "INVALID_ARGUMENT")
        v.sim.then(status=400, json=said, on="create")
        with pytest.raises(InvalidRequest, match=r"not allowed for \[id\] here"):
            await v.bench.submit()


@pytest.mark.parametrize(
    ("delay", "seconds"), [("37s", 37.0), ("1.5s", 1.5), ("999999s", 86_400.0), ("soon", None), (5, None)]
)
async def test_a_retry_info_says_when(tmp_path: Path, delay: Any, seconds: float | None) -> None:
    """A 429 waits as long as its RetryInfo says, where that is a duration, a day at most."""
    details = [7, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    async with vertex(tmp_path) as v:
        said = envelope(429, "Quota exceeded.", "RESOURCE_EXHAUSTED", details=details)
        v.sim.then(status=429, json=said, on="create")
        with pytest.raises(Throttled) as caught:
            await v.bench.submit()
    assert caught.value.retry_after == seconds


def test_the_host_follows_from_the_location() -> None:
    """A region is part of the host; `global` has a host of its own."""
    for location, host in (("europe-west4", "europe-west4-aiplatform"), ("global", "aiplatform")):
        options = msgspec.convert({"credentials": "k.json", "location": location}, VertexOptions)
        assert Vertex.address(options) == f"https://{host}.googleapis.com"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"location": "evil.example/x"}, "location must be"),
        ({"storage": "s3://bucket"}, "storage must look like"),
        ({"credentials": ""}, "credentials is empty"),
        ({"credentials": "{"}, "no JSON"),
        ({"credentials": "{}"}, "no client_email"),
        ({"credentials": {**service_account(), "type": "authorized_user"}}, "authorized_user"),
        ({"credentials": {**service_account(), "private_key": 7}}, "no private_key"),
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    """A wrong option is told when the file is checked, and repeats nothing of a key."""
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"credentials": "k.json", **wrong}, VertexOptions)


@pytest.mark.parametrize("done", [7, "yes", {}, [1]])
async def test_done_is_yes_or_no(tmp_path: Path, done: Any) -> None:
    """What is neither done nor not is an error, whatever stands beside it."""
    async with vertex(tmp_path) as v:
        job = await v.bench.submit()
        v.sim.then(json={"name": job.id, "done": done, "error": {"code": 13, "message": "Broke."}}, on="fetch")
        with pytest.raises(UpstreamError, match="neither"):
            await v.channel.fetch(job)


async def test_a_name_that_is_none(tmp_path: Path) -> None:
    """An operation's name without an operation is an error of the upstream's, and no call."""
    async with vertex(tmp_path) as v:
        with pytest.raises(UpstreamError, match="name"):
            await v.channel.fetch(UpstreamJob("x"))
        assert v.sim.calls("fetch") == []
        assert v.channel.refusal(200, Reply({"error": {"code": 400}})) is None
