"""What the engine shows at `/metrics` of its present state, read each time somebody asks."""

from __future__ import annotations

from proxy.engine.core import Core, log
from proxy.engine.waiting import WaitingQueue
from proxy.records import Video

STATES = ("closed", "open", "half_open")


def follow(core: Core, queue: WaitingQueue) -> None:
    """Let the engine's metrics read what `core` and `queue` know, and hear how videos end."""
    metrics, store = core.metrics, core.store

    def breakers() -> dict[tuple[str, ...], float]:
        now = {live.name: core.breakers.of(live.name).state for live in core.channels if live.entry.breaker is not None}
        return {(name, state): float(state == found) for name, found in now.items() for state in STATES}

    async def unknown() -> float:
        return float(await store.unsettled())

    def ended(before: Video, after: Video) -> None:
        if after.stage == "ended" and before.stage != "ended":
            seconds = core.clock() - after.created_at
            metrics.ended(after.channel, after.model, after.status, after.error_code, seconds)
            word = after.status if after.error_code is None else f"{after.status} ({after.error_code})"
            log.info(
                "video %s %s on channel %s after %.0f s",
                after.id,
                word,
                after.channel,
                seconds,
                extra={"video_id": after.id},
            )

    metrics.follow("running", lambda: {(live.name,): float(len(core.places[live.name])) for live in core.channels})
    metrics.follow("queue_length", queue.lengths)
    metrics.follow("queue_oldest_seconds", queue.oldest)
    metrics.follow("breaker_state", breakers)
    metrics.follow("unknown_outcomes", unknown)
    metrics.follow("store_commits", lambda: float(store.commits))
    metrics.follow("store_operations", lambda: float(store.operations))
    core.listeners.append(ended)
