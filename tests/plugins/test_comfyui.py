"""plugins/comfyui.py: the laws of every channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import plugins.comfyui
from proxy import JobError, Outcome, UpstreamError
from proxy.testing import ChannelContract, SimulatorServer
from proxy.testing.bench import failure_of, law
from proxy.testing.polling import SHAPES, PollLaws
from proxy.testing.product import PATIENCE
from proxy.testing.results import ResultLaws
from tests.plugins.comfyui_bench import BOTH, IMAGE, KEY, LAST, PICTURE, TEXT, node, opened, request
from tests.simulators.comfyui import ComfyUISimulator

FILM = {"file": {"filename": "reelgate_00001_.mp4", "subfolder": "video", "type": "output"}}
COMBINED = {"frame_rate": 16, "loop_count": 0, "filename_prefix": "reelgate", "pingpong": False}


class TestComfyui(ChannelContract):
    plugin = "comfyui"
    plugin_file = Path(plugins.comfyui.__file__)
    simulator = ComfyUISimulator
    entry: ClassVar[Mapping[str, Any]] = {
        "api_key": KEY,
        "models": ["wan"],
        "workflow": json.dumps(TEXT),
        "image_workflow": json.dumps(IMAGE),
    }
    states: ClassVar[Mapping[str, str]] = {
        "pending": "queued",
        "running": "in_progress",
        "success": "completed",
        "error": "failed",
        "interrupted": "failed",
    }

    @law
    @pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != {}], ids=repr)
    async def test_poll_of_another_shape_fails_nothing(self, tmp_path: Path, shape: Any) -> None:
        """As the law; but an empty history is what a job has that has not ended."""
        await PollLaws.test_poll_of_another_shape_fails_nothing(self, tmp_path, shape)

    @law
    async def test_product_shows_progress(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A client sees how far the whole job is; a websocket that breaks costs nothing but that, and one warning."""
        async with self.product(tmp_path) as product:
            sim, video_id = product.sim, await product.made()
            assert isinstance(sim, ComfyUISimulator)
            job_id = sim.latest.id
            sim.advance(job_id)
            for step, expected in ((None, 50), ((10, 20, "7"), 55), ((1, 2, "8"), 75)):
                if step:
                    sim.progress(job_id, *step[:2], node=step[2], preview=True)
                async with asyncio.timeout(PATIENCE):
                    while (video := await product.until(video_id, "in_progress")).json["progress"] != expected:
                        assert video.json["progress"] < expected
            sim.hang_up()
            async with asyncio.timeout(PATIENCE):
                while "its videos have no progress for now" not in caplog.text:
                    assert (await product.until(video_id, "in_progress")).json["progress"] == 75
            sim.finish(job_id)
            assert (await product.until(video_id, "completed")).json["progress"] == 100
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
        assert [call.query for call in sim.requests if call.path == "/ws"] == [{"clientId": job_id}]


class TestCombined(PollLaws, ResultLaws):
    """The same where nothing stands before the server, and its workflow combines frames with a custom node."""

    plugin = TestComfyui.plugin
    plugin_file = TestComfyui.plugin_file
    simulator = ComfyUISimulator
    entry: ClassVar[Mapping[str, Any]] = {
        "models": ["wan"],
        "workflow": json.dumps(
            {
                **{name: made for name, made in TEXT.items() if name not in ("9", "10")},
                "9": node("VHS_VideoCombine", images=["8", 0], **COMBINED, format="video/h264-mp4", save_output=True),
            }
        ),
    }
    states = TestComfyui.states
    test_poll_of_another_shape_fails_nothing = TestComfyui.test_poll_of_another_shape_fails_nothing

    def make_simulator(self) -> ComfyUISimulator:
        return ComfyUISimulator()

    @law
    async def test_expired_address_is_asked_for_anew(self, tmp_path: Path) -> None:
        """No address expires here: a file is where it is."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            assert (job.url, job.url_expires_at, job.expires_at) == (None, None, None)


@pytest.mark.parametrize(
    ("workflow", "changes"),
    [
        (TEXT, {"seed": 2**63, "negative_prompt": "rain"}),
        (IMAGE, {"images": (PICTURE,)}),
        (BOTH, {"images": (PICTURE,), "last_frame": LAST}),
    ],
)
async def test_workflows_are_taken(workflow: Any, changes: dict[str, Any]) -> None:
    """A server that validates each node takes text, a picture and two, whose files it has under the names it gave."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim, workflow, None) as channel:
        wanted = request(**changes)
        channel.check(wanted)
        job = await channel.create(wanted)
        graph = sim.latest.facts["graph"]
        assert graph["6"]["inputs"]["length"] == 81
        folder = f"reelgate/{job.id}"
        assert {place[:2] for place in sim.files} == ({("input", folder)} if "images" in changes else set())
        assert sorted(sim.files.values(), key=repr) == sorted(
            (one.data for one in (*wanted.images, wanted.last_frame) if one), key=repr
        )
        while job.status != "completed":
            job = await channel.fetch(job)
        assert job.facts == FILM


async def test_the_gap(tmp_path: Path) -> None:
    """A job that is in neither list for a while is not lost; one that stays away is, and one that was done stays so."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim) as channel:
        sim.gap_polls = 3
        seen = [await channel.create(request())]
        while seen[-1].status != "completed":
            seen.append(await channel.fetch(seen[-1]))
        assert [dict(job.facts) for job in seen if "looks" in job.facts] == [{"looks": n} for n in (1, 2, 3)]
        assert {job.status for job in seen if "looks" in job.facts} == {"in_progress"}
        sim.restart()
        assert await channel.fetch(seen[-1]) == seen[-1]
        job = await channel.create(request(attempt_id="another"))
        sim.restart()
        statuses = []
        for _ in range(5):
            job = await channel.fetch(job)
            statuses.append(job.status)
        assert statuses == ["in_progress"] * 4 + ["failed"]
        assert isinstance(job.error, JobError)
        assert "lost the job" in job.error.message


async def test_a_workflow_that_saves_no_video() -> None:
    """A job that is done without a film is looked at again before that is believed."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim) as channel:
        job = await channel.create(request())
        sim.withhold(job.id)
        sim.finish(job.id)
        for _ in range(5):
            assert job.status != "failed"
            job = await channel.fetch(job)
        assert isinstance(job.error, JobError)
        assert "saved no video" in job.error.message


@pytest.mark.parametrize("targeted", [True, False])
async def test_only_our_own_job_is_stopped(targeted: bool) -> None:
    """A waiting job leaves the queue, a running one is interrupted, and nobody else's ever is, by old servers too."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim) as channel:
        sim.automatic, sim.targeted_interrupt = False, targeted
        theirs, ours, third = [await channel.create(request(attempt_id=f"a{number}")) for number in range(3)]
        sim.advance(theirs.id)
        await channel.cancel(ours)
        assert (sim.jobs[theirs.id].state, sim.jobs[ours.id].removed) == ("running", True)
        assert not [call for call in sim.requests if call.path == "/interrupt"]
        sim.finish(theirs.id)
        sim.advance(third.id)
        await channel.cancel(theirs)
        await channel.cancel(ours)
        assert sim.jobs[third.id].state == "running"
        await channel.cancel(third)
        assert sim.jobs[third.id].state == "interrupted"
        job = await channel.fetch(third)
        assert isinstance(job.error, JobError)
        assert job.error.message == "The job was interrupted at the upstream."


async def test_recover_by_the_attempt() -> None:
    """An attempt is found in queue and history by its own id; what is in neither may have been there."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim) as channel:
        assert await channel.recover(request()) is None
        sim.fault("reset_after_taking", on="create")
        error = await failure_of(channel.create(request()))
        assert isinstance(error, UpstreamError)
        found = await channel.recover(request())
        assert found is not None
        assert (found.id, found.status) == (sim.latest.id, "queued")
        sim.finish(found.id)
        found = await channel.recover(request())
        assert found is not None
        assert (await channel.fetch(found)).facts == FILM
        assert sim.paid == 1
        other = await channel.create(request(attempt_id="another"))
        assert other.id != found.id


async def test_a_failed_upload_has_ordered_nothing() -> None:
    """Where the picture does not go through, the outcome is known."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim) as channel:
        for fault in ("html_502", "empty_200", "cut_body"):
            sim.fault(fault, on="upload")
            error = await failure_of(channel.create(request(images=(PICTURE,))))
            assert isinstance(error, UpstreamError)
            assert error.outcome is Outcome.REFUSED
        assert sim.calls("create") == []


async def test_refusals_of_a_validation() -> None:
    """What the client said is the client's to change; what stands in the workflow is the operator's."""
    broken = {**TEXT, "7": {**TEXT["7"], "inputs": {**TEXT["7"]["inputs"], "sampler_name": "secret.safetensors"}}}
    cases: list[tuple[Any, dict[str, Any], int, str | None]] = [
        (TEXT, {"size": "16x99999"}, 400, "size"),
        (TEXT, {"seconds": 4000}, 400, "seconds"),
        (TEXT, {"seed": -1}, 400, "seed"),
        (broken, {}, 502, None),
        ({**TEXT, "1": node("UNETLoader", unet_name="a", weight_dtype="{{model}}")}, {}, 502, None),
        ({**TEXT, "9": node("CreateVideo", images=["8", 0], fps="9{{fps}}")}, {}, 502, None),
        ({**TEXT, "10": node("SaveVideoNow", video=["9", 0])}, {}, 502, None),
        ({name: made for name, made in TEXT.items() if name != "10"}, {}, 502, None),
    ]
    for workflow, changes, status, param in cases:
        async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim, workflow, None) as channel:
            error = await failure_of(channel.create(request(**changes)))
            assert (error.status, error.param) == (status, param), changes
            assert error.outcome is (Outcome.CLIENT if status == 400 else Outcome.REFUSED)
            assert "secret" not in error.message


async def test_a_picture_that_the_server_lost() -> None:
    """Where the picture went to one server and the order to another, that is not the client's fault."""
    async with SimulatorServer(ComfyUISimulator()) as sim, opened(sim) as channel:
        sim.mangle(lambda data: {**data, "name": "other.png"}, on="upload")
        error = await failure_of(channel.create(request(images=(PICTURE,))))
    assert (error.status, error.outcome, "other.png" in error.message) == (502, Outcome.REFUSED, False)


async def test_templates_are_files(tmp_path: Path) -> None:
    """A workflow is read from its file; a change of it counts for the limits as soon as it counts for a channel."""
    path = tmp_path / "wan.json"
    await asyncio.to_thread(path.write_text, json.dumps(TEXT))
    async with SimulatorServer(ComfyUISimulator()) as sim:
        async with opened(sim, str(path), None) as channel:
            await channel.create(request(prompt="für 東京"))
            assert sim.latest.facts["graph"]["4"]["inputs"]["text"] == "für 東京"
            limits = channel.limits(channel.options, "wan")
            assert limits is not None
            assert (limits.image, limits.last_frame, limits.max_images) == (False, False, 1)
        await asyncio.to_thread(path.write_text, json.dumps(BOTH))
        async with opened(sim, str(path), None) as channel:
            limits = channel.limits(channel.options, "wan")
            assert limits is not None
            assert (limits.image, limits.last_frame) == (True, True)
