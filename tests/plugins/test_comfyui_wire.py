"""plugins/comfyui.py: what it sends, what it makes of answers, and which workflows it takes."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.comfyui import Comfyui, ComfyuiOptions
from proxy import (
    InvalidRequest,
    JobError,
    PluginError,
    UnsupportedOperation,
    UpstreamError,
    UpstreamJob,
    UpstreamRefused,
)
from tests.plugins.comfyui_bench import BOTH, IMAGE, KEY, LAST, PICTURE, TEXT, node, opened, request
from tests.plugins.openai_oracle import Recorder, recording
from tests.plugins.runway_wire import say_in_turn

JOB = UpstreamJob("7c3f0f6e-2f0c-4c0d-8f43-0d4a8a6f1f11")
GRAPH = {"1": node("Text", text="{{prompt}}")}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        recorder.say({"prompt_id": JOB.id, "number": 1, "node_errors": {}})
        yield recorder


async def filled(recorder: Recorder, value: Any, options: dict[str, Any] | None = None, **changes: Any) -> Any:
    """What a value of a workflow becomes."""
    async with opened(recorder, {"1": node("Any", value=value)}, None, **(options or {})) as channel:
        await channel.create(request(**changes))
    return recorder.last.json["prompt"]["1"]["inputs"]["value"]


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{width}}", 832),
        (" {{ height }} ", 480),
        ("{{frames}}", 81),
        ("{{seconds}}", 5),
        ("{{fps}}", 16),
        ("{{seed}}", 7),
        ("{{model}}", "wan"),
        ("{{prompt}}", 'say "{{seed}}"\n{{nobody}}'),
        ("{{width}}x{{height}}", "832x480"),
        ("best, {{prompt}}", 'best, say "{{seed}}"\n{{nobody}}'),
        ("no {{negative_prompt}}", "no "),
        (["4", 0], ["4", 0]),
        ([{"deep": "{{seed}}"}], [{"deep": 7}]),
        (None, None),
        (1.5, 1.5),
    ],
)
async def test_placeholders(recorder: Recorder, value: Any, expected: Any) -> None:
    """A value that is only a placeholder takes its type, elsewhere it is text; a client's own braces stay."""
    found = await filled(recorder, value, prompt='say "{{seed}}"\n{{nobody}}', seed=7)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("form", "fps", "seconds", "frames"),
    [
        ("4k+1", 16, 5, 81),
        ("4k+1", 24, 5, 121),
        ("8k+1", 24, 5, 121),
        ("8k+1", 25, 4, 97),
        ("1k", 24, 5, 120),
        ("1k", 23.976, 5, 120),
        ("4k+1", 1, 1, 5),
    ],
)
async def test_frames(recorder: Recorder, form: str, fps: float, seconds: int, frames: int) -> None:
    """Seconds become the number of frames that the model can make."""
    assert await filled(recorder, "{{frames}}", {"frames": form, "fps": fps}, seconds=seconds) == frames


async def test_the_body(recorder: Recorder) -> None:
    """An order has the graph, and the attempt's own id for job and listener; a client's metadata never gets in."""
    async with opened(recorder) as channel:
        job = await channel.create(request(metadata={"front": True}))
        first = recorder.last
        await channel.create(request(attempt_id="another"))
    assert (first.method, first.target, set(first.json)) == ("POST", "/prompt", {"prompt", "prompt_id", "client_id"})
    assert "authorization" not in first.headers
    assert first.json["client_id"] == first.json["prompt_id"]
    assert str(uuid.UUID(first.json["prompt_id"])) == first.json["prompt_id"] != recorder.last.json["prompt_id"]
    assert first.json["prompt"]["7"]["inputs"]["seed"] != recorder.last.json["prompt"]["7"]["inputs"]["seed"]
    assert job == UpstreamJob(JOB.id)
    assert Comfyui.closed_fields


async def test_keys(recorder: Recorder) -> None:
    """A proxy before the server gets its key as a bearer, or in the header that the entry names, for content too."""
    file = {"filename": "a b.mp4", "subfolder": "", "type": "output"}
    done = UpstreamJob(JOB.id, "completed", facts={"file": file})
    for option, header, value in (
        ({}, "Authorization", f"Bearer {KEY}"),
        ({"key_header": "X-API-Key"}, "X-API-Key", KEY),
    ):
        async with opened(recorder, api_key=KEY, **option) as channel:
            await channel.create(request())
            source = await channel.content(done, "video")
        assert recorder.last.headers[header.lower()] == value
        assert (source.headers, source.url) == (
            {header: value},
            f"{recorder.base_url}/view?filename=a+b.mp4&subfolder=&type=output",
        )


async def test_content_needs_a_file(recorder: Recorder) -> None:
    """There are no stills, and nothing of a job that left no file."""
    async with opened(recorder) as channel:
        for job, variant in ((JOB, "video"), (UpstreamJob(JOB.id, facts={"file": {}}), "thumbnail")):
            with pytest.raises(UnsupportedOperation):
                await channel.content(job, variant)  # type: ignore[arg-type]


async def test_pictures_are_named_by_the_server(recorder: Recorder) -> None:
    """Each picture is uploaded, and the workflow gets the name and folder that come back."""
    say_in_turn(
        recorder,
        {"name": "image (1).png", "subfolder": "reelgate/x", "type": "input"},
        {"name": "image.jpg", "subfolder": "", "type": "input"},
        {"prompt_id": JOB.id},
    )
    async with opened(recorder, TEXT, BOTH) as channel:
        await channel.create(request(images=(PICTURE,), last_frame=LAST))
    uploads, (order,) = recorder.calls[:2], recorder.calls[2:]
    assert [call.target for call in uploads] == ["/upload/image"] * 2
    graph = order.json["prompt"]
    assert [graph[name]["inputs"]["image"] for name in ("11", "12")] == ["reelgate/x/image (1).png", "image.jpg"]
    sent = [{part.name: (part.filename, part.data) for part in call.parts} for call in uploads]
    place = {"type": (None, b"input"), "subfolder": (None, f"reelgate/{order.json['prompt_id']}".encode())}
    assert sent == [
        {"image": ("image.png", PICTURE.data), **place},
        {"image": ("image.jpg", LAST.data), **place},
    ]


@pytest.mark.parametrize(
    ("workflow", "pictured", "changes", "param"),
    [
        (TEXT, None, {"images": (PICTURE,)}, "input_reference"),
        (TEXT, IMAGE, {"images": (PICTURE,), "last_frame": LAST}, "last_frame"),
        (TEXT, BOTH, {"images": (PICTURE,)}, "last_frame"),
        (TEXT, BOTH, {"last_frame": LAST}, "input_reference"),
        (IMAGE, None, {}, "input_reference"),
    ],
)
async def test_pictures_must_fit(
    recorder: Recorder, workflow: Any, pictured: Any, changes: dict[str, Any], param: str
) -> None:
    """A picture that the workflow has no place for, and one that it lacks, are refused before anything is sent."""
    async with opened(recorder, workflow, pictured) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(request(**changes))
    assert (caught.value.param, recorder.calls) == (param, [])


# ---------------------------------------------------------------- what is answered


def history(outputs: Any = None, **status: Any) -> dict[str, Any]:
    said = {"status_str": "success", "completed": True, "messages": [], **status}
    return {JOB.id: {"prompt": [], "outputs": outputs or {}, "status": said, "meta": {}}}


def file(name: str, kind: str = "output", folder: str = "") -> dict[str, str]:
    return {"filename": name, "subfolder": folder, "type": kind}


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        ({"9": {"images": [file("a.mp4")], "animated": [True]}}, "a.mp4"),
        ({"9": {"gifs": [{**file("a.mp4"), "format": "video/h264-mp4"}]}}, "a.mp4"),
        ({"9": {"videos": [file("a.webm")]}}, "a.webm"),
        ({"9": {"video": [file("A.MP4")]}}, "A.MP4"),
        ({"1": {"images": [file("a.png")]}, "9": {"images": [file("b.mp4")]}}, "b.mp4"),
        ({"1": {"images": [file("a.webm")]}, "9": {"images": [file("b.mp4")]}}, "b.mp4"),
        ({"1": {"gifs": [file("a.mp4", "temp")]}, "9": {"gifs": [file("b.webm")]}}, "b.webm"),
        ({"9": {"gifs": [file("a.mp4", "temp")]}}, "a.mp4"),
        ({"1": None, "2": [], "3": {"text": ["x"], "a": 7}, "9": {"images": [None, {}, file("b.mp4")]}}, "b.mp4"),
    ],
)
async def test_the_film_among_the_outputs(recorder: Recorder, outputs: Any, name: str) -> None:
    """A film is found under any word, by its ending; a saved one goes before a preview, MP4 before others."""
    recorder.say(history(outputs))
    async with opened(recorder) as channel:
        job = await channel.fetch(JOB)
    assert (job.status, job.facts["file"]["filename"]) == ("completed", name)
    assert recorder.last.target == f"/history/{JOB.id}"


@pytest.mark.parametrize(
    ("outputs", "known"),
    [({}, {}), ({"9": {"images": [file("a.png")]}}, {}), ({"9": {"images": [{"filename": 7}]}}, {"looks": 2})],
)
async def test_done_without_a_film(recorder: Recorder, outputs: Any, known: dict[str, Any]) -> None:
    """A job that is done without a film runs on for a few looks."""
    recorder.say(history(outputs))
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(JOB.id, "in_progress", facts=known))
    assert (job.status, job.facts) == ("in_progress", {"looks": known.get("looks", 0) + 1})


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (
            [["execution_start", {}], ["execution_error", {"node_type": "KSampler", "exception_message": "Out!\n"}]],
            "KSampler: Out!",
        ),
        ([["execution_error", {"exception_message": "Out of memory"}]], "Out of memory"),
        (
            [["execution_error", {"exception_message": "No file '/home/al/models/x.pt', C:\\\\a\\\\b.pt and/or 7/8"}]],
            "No file '[path]', [path] and/or 7/8",
        ),
        ([["execution_interrupted", {}]], "The job was interrupted at the upstream."),
        ([["execution_error", None], ["x"], 7], "The upstream gave no reason."),
        (None, "The upstream gave no reason."),
        ([["execution_error", {"exception_message": 7}]], "The upstream gave no reason."),
    ],
)
async def test_failures(recorder: Recorder, messages: Any, sentence: str) -> None:
    """A failure says which kind of node broke, and how."""
    recorder.say(history(status_str="error", completed=False, messages=messages))
    async with opened(recorder) as channel:
        job = await channel.fetch(JOB)
    assert (job.status, job.error) == ("failed", JobError("upstream_failed", sentence))


@pytest.mark.parametrize("kind", ["invalid_prompt", "missing_node_type", "prompt_no_outputs"])
async def test_a_workflow_that_does_not_fit(recorder: Recorder, kind: str) -> None:
    """A node that is not installed, in the words of old servers and new, is the operator's; another channel may do."""
    error = {"type": kind, "message": "Cannot execute because node X does not exist.", "details": "", "extra_info": {}}
    recorder.say({"error": error, "node_errors": {}}, status=400)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamRefused, match="Only the operator can help"):
            await channel.create(request())


@pytest.mark.parametrize(
    ("queue", "status"),
    [
        ({"queue_running": [[1, JOB.id, {}, {}, []]], "queue_pending": []}, "in_progress"),
        ({"queue_running": [[1, "x", {}, {}, []]], "queue_pending": [7, [2, JOB.id, {}, {}, []]]}, "queued"),
    ],
)
async def test_the_queue(recorder: Recorder, queue: Any, status: str) -> None:
    """A job that has not ended is where the queue says."""
    say_in_turn(recorder, {}, queue)
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(JOB.id, facts={"looks": 3}))
    assert [call.target for call in recorder.calls] == [f"/history/{JOB.id}", "/queue"]
    assert (job.status, job.facts) == (status, {})


@pytest.mark.parametrize("queue", [{}, [], "x", {"queue_running": []}, {"queue_running": {}, "queue_pending": []}])
async def test_an_odd_queue_fails_nothing(recorder: Recorder, queue: Any) -> None:
    """An answer that is no queue is the upstream's fault."""
    say_in_turn(recorder, {}, queue)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError):
            await channel.fetch(JOB)


@pytest.mark.parametrize("data", [{"x": 1}, {JOB.id: {}}, {JOB.id: {"status": None}}, history(status_str="dreaming")])
async def test_an_odd_history_fails_nothing(recorder: Recorder, data: Any) -> None:
    """An entry without a state, or with an unknown one, is the upstream's fault."""
    recorder.say(data)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError):
            await channel.fetch(JOB)


async def test_delete(recorder: Recorder) -> None:
    """The record goes out of the history, and nobody else's."""
    recorder.say(b"")
    async with opened(recorder) as channel:
        await channel.delete(JOB)
    assert (recorder.last.target, recorder.last.json) == ("/history", {"delete": [JOB.id]})


# ---------------------------------------------------------------- what an entry may say


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ('{"nodes": [], "links": []}', "API"),
        ("{}", "object of nodes"),
        ('{"1": {"inputs": {}}}', "class_type"),
        ('{"1": 7}', "class_type"),
        (json.dumps({"1": node("Text", text="{{promt}}")}), "promt"),
    ],
)
async def test_workflows_that_are_none(recorder: Recorder, tmp_path: Path, text: str, why: str) -> None:
    """A mistake in a workflow is one of the entry, or where it is a file, of the start."""
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.convert({"workflow": text}, ComfyuiOptions)
    path = tmp_path / "broken.json"
    path.write_text(text)
    for workflows in ((str(path), None), (GRAPH, str(path))):
        with pytest.raises(PluginError, match=rf"broken\.json.*{why}"):
            async with opened(recorder, *workflows):
                pass
    limits = Comfyui.limits(msgspec.convert({"workflow": str(path)}, ComfyuiOptions), "wan")
    assert limits == Comfyui.default_model


async def test_a_missing_workflow(recorder: Recorder, tmp_path: Path) -> None:
    """A file that is not there stops the start with its name."""
    with pytest.raises(PluginError, match=r"absent\.json"):
        async with opened(recorder, str(tmp_path / "absent.json")):
            pass


@pytest.mark.parametrize(
    "mistake",
    [{"workflow": ""}, {"frames": "4k+"}, {"frames": "0k+1"}, {"fps": 0}, {"key_header": "a b"}, {"workflows": "x"}],
)
def test_options_are_checked(mistake: dict[str, Any]) -> None:
    """What cannot be is a mistake of the entry."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"workflow": json.dumps(GRAPH), **mistake}, ComfyuiOptions)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({}, ComfyuiOptions)
