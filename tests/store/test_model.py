"""The store against a model: whatever the order of changes, marks, kills of the cache and restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from proxy.ids import new_id
from proxy.records import STAGES, Attempt, Video
from proxy.store import StaleVideo, Store, videos

STAGE = st.sampled_from(STAGES)


class StoreAgainstModel(RuleBasedStateMachine):
    """`rows` is what the file must hold; `answered` the marks given, which may be written later."""

    copies = Bundle("copies")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.store = self.runner.run(Store.open(self.folder / "reelgate.db"))
        self.rows: dict[str, Video] = {}
        self.attempts: dict[str, dict[str, str]] = {}
        self.answered: set[str] = set()

    @rule(target=copies, stage=STAGE, tenant=st.sampled_from("ab"))
    def accept(self, stage, tenant):
        video = Video(
            id=new_id("video"), tenant=tenant, key_id="k", model="m", upstream_model="m", channel=stage, prompt="p",
            seconds=4, size="1280x720", created_at=0, stage=stage,
        )  # fmt: skip
        self.runner.run(self.store.accept(video))
        self.rows[video.id] = video
        self.attempts[video.id] = {}
        return video

    @rule(target=copies, copy=copies, stage=STAGE, progress=st.integers(0, 100), state=st.sampled_from(["", "taken"]))
    def change(self, copy, stage, progress, state):
        """From a copy of any age: only one of the row's version is stored."""
        wanted = msgspec.structs.replace(copy, stage=stage, progress=progress)
        attempt = None
        if state:
            attempt = Attempt(id=f"att_{copy.id}", video_id=copy.id, channel="c", state=state, started_at=0.0)
        try:
            changed = self.runner.run(self.store.change(wanted, attempt=attempt))
        except StaleVideo:
            assert self.rows[copy.id].version != copy.version
            return copy
        assert self.rows[copy.id].version == copy.version
        self.rows[copy.id] = msgspec.structs.replace(wanted, version=copy.version + 1)
        if attempt:
            self.attempts[copy.id][attempt.id] = state
        assert same(changed, self.rows[copy.id])
        return changed

    @rule(copy=copies)
    def mark_answered(self, copy):
        async def mark():
            self.store.mark_answered(copy.id)

        self.runner.run(mark())
        self.answered.add(copy.id)

    @rule(target=copies, copy=copies)
    def read(self, copy):
        return self.runner.run(self.store.video(copy.id))

    @rule()
    def restart(self):
        self.runner.run(self.store.close())
        self.store = self.runner.run(Store.open(self.folder / "reelgate.db"))
        for video in self.rows.values():
            assert self.runner.run(self.store.video(video.id)).answered == (video.id in self.answered)

    @invariant()
    def the_store_holds_the_model(self):
        async def state():
            return (
                [await self.store.video(id_) for id_ in self.rows],
                await self.store.unfinished(),
                await self.store.read(videos.waiting),
                {t: await self.store.videos(t, after=None, limit=999, newest_first=True) for t in "ab"},
                {id_: {a.id: a.state for a in await self.store.attempts(id_)} for id_ in self.rows},
            )

        rows, unfinished, waiting, listed, attempts = self.runner.run(state())
        wanted = list(self.rows.values())
        assert all(map(same, rows, wanted))
        busy = [video.id for video in wanted if video.stage in ("waiting", "submitting", "unknown", "running")]
        assert [video.id for video in unfinished] == busy
        assert waiting == sum(video.stage == "waiting" for video in wanted)
        for tenant, page in listed.items():
            shown = [video.id for video in wanted if video.tenant == tenant and video.listed]
            assert [video.id for video in page] == shown[::-1]
        assert attempts == self.attempts
        assert all(same(self.store.cached(video.id), video) for video in wanted)

    def teardown(self):
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)


def same(video, wanted):
    """Whether both are equal but for `answered`, which is written in its own time."""
    return msgspec.structs.replace(video, answered=False) == msgspec.structs.replace(wanted, answered=False)


TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreAgainstModel.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
