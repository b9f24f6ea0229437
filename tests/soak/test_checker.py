"""The checker is believed because every breach of a law is found in a forged history, and none in an honest one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.soak.checker import LAWS, MANY_KILLS, breaches
from tests.soak.evidence import Evidence
from tests.soak.journal import Entry
from tests.soak.upstream import CONTENT_LINES

PLANE, KITE, BOAT, GONE = "soak 1-0 0", "soak 1-0 1", "soak 1-1 0", "soak 1-0 2"


def video(video_id: str, prompt: str, *, code: str | None = None, source: str | None = None) -> dict[str, Any]:
    """A finished video as the public API shows it."""
    return {
        "id": video_id,
        "prompt": prompt,
        "status": "failed" if code else "completed",
        "progress": 40 if code else 100,
        "error": {"code": code, "message": "No."} if code else None,
        "remixed_from_video_id": source,
    }


def call(op: str, prompt: str, video_id: str, *, t: float, client: str = "1-0", tenant: str = "alpha") -> list[Entry]:
    """A call that was answered well."""
    common = {"client": client, "tenant": tenant, "op": op, "call": prompt}
    return [
        {**common, "t": t, "type": "invoke", "keyed": False},
        {**common, "t": t + 1, "type": "ok", "id": video_id, "sent": 1},
    ]


def see(video_id: str, status: str, progress: int, *, t: float, **more: Any) -> Entry:
    """A watcher's sight that was asked for half a second before `t`."""
    common = {"client": "watcher", "tenant": "alpha", "op": "see", "id": video_id, "asked": t - 0.5, "t": t}
    return {**common, "status": status, "progress": progress, "prompt": None, "code": None, **more}


def download(video_id: str, prompt: str, *, t: float) -> Entry:
    common = {"t": t, "client": "1-0", "tenant": "alpha", "op": "download", "id": video_id}
    return {**common, "prompt": prompt, "lines": CONTENT_LINES, "alike": True}


def job(job_id: str, prompt: str, *, t: float, source: str | None = None, fate: str = "completed") -> Entry:
    common = {"t": t, "event": "taken", "account": "sk-a", "prompt": prompt, "job": job_id}
    return {**common, "source": source, "fate": fate, "wrong": None}


def delivery(video_id: str, kind: str, webhook_id: str, *, failure: str | None = None) -> Entry:
    told = {"type": kind, "video": video_id, "object": "event", "event_id": "evt_1"}
    common = {"t": 9.0, "event": "delivery", "endpoint": "hook", "webhook_id": webhook_id, "valid": True}
    return {**common, "failure": failure, **told}


@pytest.fixture
def honest() -> Evidence:
    """A small run without a fault: a film, a remix of it, one that failed, one that was deleted."""
    return Evidence(
        history=[
            *call("create", PLANE, "video_1", t=1),
            *call("remix", KITE, "video_2", t=4),
            *call("create", BOAT, "video_3", t=1, client="1-1", tenant="beta"),
            *call("create", GONE, "video_4", t=1),
            {"t": 3.5, "client": "1-1", "tenant": "beta", "op": "pry", "id": "video_1", "status": 404},
            see("video_1", "queued", 0, t=2.1),
            see("video_1", "in_progress", 40, t=2.8),
            see("video_1", "completed", 100, t=3.5),
            see("video_4", "completed", 100, t=3.5),
            {"t": 5, "client": "1-0", "tenant": "alpha", "op": "delete", "type": "invoke", "id": "video_4"},
            {"t": 6, "client": "1-0", "tenant": "alpha", "op": "delete", "type": "ok", "id": "video_4"},
            see("video_4", "missing", 0, t=7),
            download("video_1", PLANE, t=5),
        ],
        ledger=[
            {"t": 1.5, "event": "received", "account": "sk-a", "prompt": PLANE, "wrong": None},
            job("upjob_1", PLANE, t=1.6),
            job("upjob_2", KITE, t=4.5, source="upjob_1"),
            job("upjob_3", BOAT, t=1.6, fate="failed"),
            job("upjob_4", GONE, t=1.6),
        ],
        record=[
            delivery("video_1", "video.completed", "wh_1", failure="500"),
            delivery("video_1", "video.completed", "wh_1"),
            delivery("video_2", "video.completed", "wh_2"),
            delivery("video_4", "video.completed", "wh_4"),
        ],
        survey=[
            {"tenant": "alpha", "listed": video("video_1", PLANE)},
            {"tenant": "alpha", "listed": video("video_2", KITE, source="video_1")},
            {"tenant": "beta", "listed": video("video_3", BOAT, code="upstream_failed")},
            {"tenant": "alpha", "asked": "video_4", "status": 404},
        ],
        run=[
            {"t": 0, "event": "secrets", "words": ["upjob_", "sk-a", "127.0.0.1:999"]},
            {"t": 0, "event": "options", "seed": 1, "workers": 1, "phases": ["any moment"]},
            {"t": 0, "event": "endpoint", "name": "hook", "tenant": "alpha", "types": ["video.completed"]},
            {"t": 2, "event": "kill", "server": "a", "phase": "any moment"},
            {"t": 9, "event": "stopped", "server": "a", "code": 0},
        ],
        logs={"server-a.log": ["INFO a poll of video video_1 failed"]},
    )


def drop(entries: list[Entry], **facts: Any) -> object:
    """Remove the entries that have these values."""
    kept = [entry for entry in entries if any(entry.get(name) != value for name, value in facts.items())]
    assert len(kept) < len(entries)
    entries[:] = kept
    return kept


def listed(evidence: Evidence, video_id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e["listed"] for e in evidence.survey if e.get("listed", {}).get("id") == video_id)
    return found


def unlist(evidence: Evidence, video_id: str) -> object:
    return drop(evidence.survey, listed=listed(evidence, video_id))


def refuse(evidence: Evidence, prompt: str, status: int) -> object:
    """Let the call have been refused."""
    end = next(entry for entry in evidence.history if entry.get("call") == prompt and entry["type"] == "ok")
    end.update(type="fail", status=status, code="invalid_value")
    return end


def test_an_honest_run_breaks_no_law(honest: Evidence) -> None:
    """Nothing is found where nothing is wrong."""
    assert breaches(honest) == {law.__name__: [] for law in LAWS}


Forge = Callable[[Evidence], object]

FORGERIES: dict[str, tuple[str, *tuple[Forge, ...]]] = {
    "an accepted video is not listed": (
        "nothing_accepted_is_lost",
        lambda run: unlist(run, "video_3"),
        lambda run: run.ledger.pop(3),
    ),
    "an accepted video is not found for a moment": (
        "nothing_accepted_is_lost",
        lambda run: run.history.append(see("video_1", "missing", 0, t=2.9)),
    ),
    "a video is not found before its owner deletes it": (
        "nothing_accepted_is_lost",
        lambda run: run.history.append(see("video_4", "missing", 0, t=4.9)),
    ),
    "a call is paid twice on one account": (
        "nothing_is_paid_twice",
        lambda run: run.ledger.append(job("upjob_9", PLANE, t=3)),
    ),
    "a call is paid twice on two accounts": (
        "nothing_is_paid_twice",
        lambda run: run.ledger.append({**job("upjob_9", PLANE, t=3), "account": "sk-b"}),
    ),
    "a job has no video": ("what_is_paid_is_listed", lambda run: run.ledger.append(job("upjob_9", "soak 1-0 9", t=3))),
    "a refused call is paid": ("what_is_paid_is_listed", lambda run: refuse(run, PLANE, 400)),
    "a refused call is listed": (
        "what_is_paid_is_listed",
        lambda run: refuse(run, BOAT, 400),
        lambda run: drop(run.ledger, job="upjob_3"),
    ),
    "a state goes back": (
        "states_only_move_forward",
        lambda run: run.history.append(see("video_1", "in_progress", 100, t=4.5)),
    ),
    "a state goes back between two servers": (
        "states_only_move_forward",
        lambda run: run.history.append({**see("video_1", "queued", 0, t=3.4), "asked": 2.85}),
    ),
    "progress falls": (
        "states_only_move_forward",
        lambda run: run.history.append(see("video_1", "in_progress", 39, t=3.4)),
    ),
    "a completed video fails": (
        "states_only_move_forward",
        lambda run: run.history.append(see("video_1", "failed", 100, t=4.5, code="upstream_failed")),
    ),
    "a restart takes an end back": (
        "states_only_move_forward",
        lambda run: listed(run, "video_1").update(status="in_progress"),
    ),
    "the reason of a failure changes": (
        "states_only_move_forward",
        lambda run: run.history.append(
            see("video_3", "failed", 40, t=3.5, code="outcome_unknown", tenant="beta"),
        ),
    ),
    "a deleted video is there again": (
        "states_only_move_forward",
        lambda run: run.history.append(see("video_4", "completed", 100, t=8)),
    ),
    "a video stays queued": (
        "nothing_stays_on_its_way",
        lambda run: listed(run, "video_3").update(status="queued", progress=0, error=None),
    ),
    "a server ends by itself": (
        "nothing_stays_on_its_way",
        lambda run: run.run.append({"t": 9, "event": "ended", "server": "a", "code": 1, "slept": False}),
    ),
    "a server does not stop cleanly": (
        "nothing_stays_on_its_way",
        lambda run: run.run.append({"t": 9, "event": "stopped", "server": "b", "code": -9}),
    ),
    "a video is completed without a job": (
        "verdicts_are_the_upstreams_own",
        lambda run: drop(run.ledger, job="upjob_2"),
    ),
    "a video is completed although its job failed": (
        "verdicts_are_the_upstreams_own",
        lambda run: run.ledger[2].update(fate="failed"),
    ),
    "a video fails although its job was made": (
        "verdicts_are_the_upstreams_own",
        lambda run: run.ledger[3].update(fate="completed"),
    ),
    "a call is answered with two ids": (
        "one_call_is_one_video",
        lambda run: run.history.append({**call("replay", PLANE, "video_9", t=6)[1], "same": True}),
    ),
    "a replay has another answer": (
        "one_call_is_one_video",
        lambda run: run.history.append({**call("replay", PLANE, "video_1", t=6)[1], "same": False}),
    ),
    "two calls share a video": (
        "one_call_is_one_video",
        lambda run: run.history.extend(call("create", "soak 1-0 8", "video_1", t=6)),
    ),
    "a call made two videos": (
        "one_call_is_one_video",
        lambda run: run.survey.append({"tenant": "alpha", "listed": video("video_9", PLANE)}),
    ),
    "a call was answered with another call's video": (
        "one_call_is_one_video",
        lambda run: listed(run, "video_1").update(prompt=KITE),
    ),
    "an account is asked for another's job": (
        "remixes_stay_on_their_account",
        lambda run: run.ledger.append(
            {"t": 5, "event": "stranger", "account": "sk-b", "job": "upjob_1", "owner": "sk-a"}
        ),
    ),
    "a remix is made from another job": (
        "remixes_stay_on_their_account",
        lambda run: run.ledger[2].update(source="upjob_3"),
    ),
    "a download is another film": (
        "the_bytes_are_right",
        lambda run: next(entry for entry in run.history if entry["op"] == "download").update(prompt=KITE),
    ),
    "a download ends early and well": (
        "the_bytes_are_right",
        lambda run: next(entry for entry in run.history if entry["op"] == "download").update(lines=7),
    ),
    "a download is patched together": (
        "the_bytes_are_right",
        lambda run: next(entry for entry in run.history if entry["op"] == "download").update(alike=False),
    ),
    "a foreign video is shown": (
        "tenants_do_not_see_each_other",
        lambda run: next(entry for entry in run.history if entry["op"] == "pry").update(status=200),
    ),
    "a foreign video is listed": (
        "tenants_do_not_see_each_other",
        lambda run: run.history.append(see("video_1", "completed", 100, t=5, tenant="beta")),
    ),
    "an answer holds an upstream id": (
        "secrets_stay_inside",
        lambda run: run.history.append(
            {"t": 5, "client": "1-0", "tenant": "alpha", "op": "leak", "path": "/videos", "text": "upjob_1"}
        ),
    ),
    "the log holds an upstream id": ("secrets_stay_inside", lambda run: run.logs["server-a.log"].append("x upjob_1 y")),
    "the log holds an upstream address": (
        "secrets_stay_inside",
        lambda run: run.logs["server-a.log"].append("cannot reach 127.0.0.1:999"),
    ),
    "the log holds a prompt": ("secrets_stay_inside", lambda run: run.logs["server-a.log"].append(f"made {PLANE}")),
    "the log has a traceback": (
        "secrets_stay_inside",
        lambda run: run.logs["server-a.log"].append("Traceback (most recent call last):"),
    ),
    "an event never comes": ("every_event_is_delivered", lambda run: drop(run.record, video="video_2")),
    "the event of a deleted video never comes": (
        "every_event_is_delivered",
        lambda run: drop(run.record, video="video_4"),
    ),
    "a failed delivery is not made again": ("every_event_is_delivered", lambda run: run.record.pop(1)),
    "a signature is wrong": ("every_event_is_delivered", lambda run: run.record[2].update(valid=False)),
    "an event has two ids": (
        "every_event_is_delivered",
        lambda run: run.record.append(delivery("video_2", "video.completed", "wh_9")),
    ),
    "an event tells another end": (
        "every_event_is_delivered",
        lambda run: run.run[2].update(types=["video.completed", "video.failed"]),
        lambda run: run.record.append(delivery("video_2", "video.failed", "wh_2")),
    ),
    "an event comes that was not asked for": (
        "every_event_is_delivered",
        lambda run: listed(run, "video_1").update(status="failed", error={"code": "x", "message": "y"}),
        lambda run: drop(run.record, video="video_1"),
        lambda run: run.record.append(delivery("video_1", "video.failed", "wh_1")),
    ),
    "an event of another tenant comes": (
        "every_event_is_delivered",
        lambda run: run.record.append(delivery("video_3", "video.completed", "wh_3")),
    ),
    "an event of an unknown video comes": (
        "every_event_is_delivered",
        lambda run: run.record.append(delivery("video_77", "video.completed", "wh_7")),
    ),
    "a redirect is followed": (
        "every_event_is_delivered",
        lambda run: run.record.append({"t": 5, "event": "redirect followed", "method": "POST"}),
    ),
    "nothing happened": ("the_storm_was_one", lambda run: run.ledger.clear()),
    "nobody watched": (
        "the_storm_was_one",
        lambda run: run.history.__setitem__(slice(None), [entry for entry in run.history if entry["op"] != "see"]),
    ),
    "nobody looked in the end": ("the_storm_was_one", lambda run: run.survey.clear()),
    "no delivery came at all": ("the_storm_was_one", lambda run: run.record.clear()),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_history_is_found(honest: Evidence, name: str) -> None:
    """Each breach is named by the law that it breaks."""
    law, *forges = FORGERIES[name]
    forged = copy.deepcopy(honest)
    for forge in forges:
        forge(forged)
    forged.history.sort(key=lambda entry: entry["t"])
    assert breaches(forged)[law] != []


def test_a_phase_without_a_kill_is_found(honest: Evidence) -> None:
    """A long run that never hit one of its phases proves nothing about it."""
    honest.run[1].update(phases=["any moment", "webhook"])
    honest.run.extend([honest.run[3]] * MANY_KILLS)
    assert f"{MANY_KILLS + 1} kills, and none at: webhook" in breaches(honest)["the_storm_was_one"]


def test_every_law_has_a_forgery() -> None:
    """No law is believed without having been seen to bite."""
    assert {law for law, *_ in FORGERIES.values()} == {law.__name__ for law in LAWS}
