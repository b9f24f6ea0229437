"""A process that stores videos as fast as it can and says which ones are acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from proxy.ids import new_id
from proxy.records import Attempt, Idempotent, Video
from proxy.store import Store


async def client(store: Store) -> None:
    while True:
        video = Video(
            id=new_id("video"), tenant="t", key_id="k", model="m", upstream_model="m", channel="c", prompt="p",
            seconds=4, size="1280x720", created_at=0,
        )  # fmt: skip
        attempt = Attempt(id=new_id("att"), video_id=video.id, channel="c", started_at=0.0)
        once = Idempotent(key_id="k", idempotency_key=video.id, fingerprint=b"", video_id=video.id, created_at=0.0)
        await store.accept(video, attempt, once)
        os.write(1, f"accepted {video.id}\n".encode())
        await store.change(msgspec.structs.replace(video, stage="running"), attempt=attempt)
        os.write(1, f"running {video.id}\n".encode())


async def main() -> None:
    store = await Store.open(Path(sys.argv[1]))
    await asyncio.gather(*(client(store) for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main())
