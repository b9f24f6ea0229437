"""The laws of DESIGN 2, each as a function of the evidence that names every breach of it.

It knows nothing of the product: it compares what clients were told with what the upstream was paid for and with what
the public API says in the end. `python -m tests.soak.checker FOLDER` judges a run that was kept.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.soak.evidence import FINAL, Evidence, load
from tests.soak.journal import Entry
from tests.soak.upstream import CONTENT_LINES

RANK = {"queued": 0, "in_progress": 1, "completed": 2, "failed": 2}
OPEN_VERDICTS = ("outcome_unknown",)
"""Codes with which a video may fail although its job was made."""

MANY_KILLS = 100
"""So many fall at every phase."""

Law = Callable[[Evidence], Iterator[str]]


def nothing_accepted_is_lost(evidence: Evidence) -> Iterator[str]:
    """Every id in a 200 is there, unless its owner deleted it."""
    for video_id, entry in evidence.accepted.items():
        if video_id not in evidence.deletions and video_id not in evidence.listed:
            yield f"{video_id} of the call {entry['call']!r} is not there in the end"
    for entry in evidence.of("see"):
        first = evidence.accepted.get(entry["id"])
        if entry["status"] != "missing" or first is None or entry["asked"] <= first["t"]:
            continue
        deletion = evidence.deletions.get(entry["id"])
        if deletion is None or entry["t"] < deletion.asked:
            yield f"{entry['id']} of the call {first['call']!r} was not found at {entry['t']:.3f}"


def nothing_is_paid_twice(evidence: Evidence) -> Iterator[str]:
    """No call has two jobs."""
    for prompt, jobs in evidence.jobs.items():
        if len(jobs) > 1:
            times = ", ".join(f"{job['job']} at {job['t']:.3f} by {job['account']}" for job in jobs)
            yield f"the call {prompt!r} has {len(jobs)} jobs: {times}"


def what_is_paid_is_listed(evidence: Evidence) -> Iterator[str]:
    """Every job has a video that its owner can find, unless they deleted it; a refused call has neither."""
    listed = {video["prompt"] for video in evidence.listed.values()}
    known = listed | {evidence.prompts[video_id] for video_id in evidence.deletions if video_id in evidence.prompts}
    for prompt, jobs in evidence.jobs.items():
        if prompt not in known:
            yield f"the job {jobs[0]['job']} of the call {prompt!r} has no video"
    for call, entries in evidence.calls.items():
        end = entries[-1]
        if end["type"] != "fail" or end["status"] >= 500:
            continue
        if call in evidence.jobs:
            yield f"the call {call!r} was refused with {end['status']} although it is paid for"
        elif call in listed:
            yield f"the call {call!r} was refused with {end['status']} and is listed all the same"


def states_only_move_forward(evidence: Evidence) -> Iterator[str]:
    """Of two sights, one asked after the other was there, the later shows no earlier state; an end is final."""
    sights: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in evidence.of("see"):
        if entry["status"] != "missing":
            sights[entry["id"]].append(entry)
    for video_id, video in evidence.listed.items():
        code = (video["error"] or {}).get("code")
        sights[video_id].append({**video, "asked": float("inf"), "t": float("inf"), "code": code})
    for video_id, seen in sights.items():
        yield from _backward(video_id, seen)
        deletion = evidence.deletions.get(video_id)
        if deletion is not None and deletion.done is not None:
            for entry in seen:
                if entry["asked"] > deletion.done:
                    yield f"{video_id} is there again after it was deleted"
                    break


def _backward(video_id: str, seen: list[Entry]) -> Iterator[str]:
    by_end = sorted(seen, key=lambda entry: entry["t"])
    known, best = 0, (0, 0)
    final: Entry | None = None
    for entry in sorted(seen, key=lambda entry: entry["asked"]):
        while known < len(by_end) and by_end[known]["t"] < entry["asked"]:
            before = by_end[known]
            best = (max(best[0], RANK[before["status"]]), max(best[1], before["progress"]))
            final = before if before["status"] in FINAL and final is None else final
            known += 1
        at = f"{video_id} at {entry['t']:.3f}"
        if RANK[entry["status"]] < best[0]:
            yield f"{at} is {entry['status']} again"
        elif entry["progress"] < best[1]:
            yield f"{at} has fallen from {best[1]} % to {entry['progress']} %"
        elif final is not None and any(entry[name] != final[name] for name in ("status", "progress", "code")):
            yield f"{at} was {final['status']} ({final['code']}) and is {entry['status']} ({entry['code']})"


def nothing_stays_on_its_way(evidence: Evidence) -> Iterator[str]:
    """In the end every video has its own; no server ends by itself that was awake, and each stops cleanly."""
    for video_id, video in evidence.listed.items():
        if video["status"] not in FINAL:
            yield f"{video_id} is {video['status']} in the end ({video['prompt']!r})"
    for entry in evidence.events("ended"):
        if not entry["slept"]:
            yield f"server {entry['server']} ended by itself with {entry['code']} at {entry['t']:.3f}"
    for entry in evidence.events("stopped"):
        if entry["code"] != 0:
            yield f"server {entry['server']} ended with {entry['code']} when it was asked to stop"


def verdicts_are_the_upstreams_own(evidence: Evidence) -> Iterator[str]:
    """A video is completed only if its job is; if its job is, it fails as `outcome_unknown` or not at all."""
    for video_id, video in evidence.listed.items():
        fates = {job["fate"] for job in evidence.jobs.get(video["prompt"], [])}
        code = (video["error"] or {}).get("code")
        if video["status"] == "completed" and "completed" not in fates:
            yield f"{video_id} is completed, but its jobs are {sorted(fates)}"
        if video["status"] == "failed" and "completed" in fates and code not in OPEN_VERDICTS:
            yield f"{video_id} failed with {code} although its job was made and is paid for ({video['prompt']!r})"


def one_call_is_one_video(evidence: Evidence) -> Iterator[str]:
    """Whatever was sent again got the same video and, with an Idempotency-Key, the same answer; no two calls share."""
    for call, entries in evidence.calls.items():
        ids = {entry["id"] for entry in entries if entry["type"] == "ok"}
        if len(ids) > 1:
            yield f"the call {call!r} was answered with {sorted(ids)}"
        if any(not entry.get("same", True) for entry in entries):
            yield f"the call {call!r} got another answer when it was sent again with its Idempotency-Key"
        for video_id in sorted(ids):
            prompt = evidence.listed.get(video_id, {}).get("prompt", call)
            if prompt != call or evidence.accepted[video_id]["call"] != call:
                yield f"the call {call!r} was answered with {video_id}, which is the video of another call"
    made = Counter(video["prompt"] for video in evidence.listed.values())
    for prompt, count in made.items():
        if count > 1:
            yield f"the call {prompt!r} has {count} videos"


def remixes_stay_on_their_account(evidence: Evidence) -> Iterator[str]:
    """No account is asked for another one's job, and a remix is made from the job of its source."""
    for entry in evidence.events("stranger"):
        yield f"{entry['account']} was asked for {entry['job']}, a job of {entry['owner']}"
    made_by = {job["job"]: prompt for prompt, jobs in evidence.jobs.items() for job in jobs}
    for video_id, video in evidence.listed.items():
        source = evidence.prompts.get(video["remixed_from_video_id"] or "")
        for job in evidence.jobs.get(video["prompt"], []):
            if source is not None and made_by.get(job["source"]) != source:
                yield f"{video_id} is a remix of {source!r}, but was made from {made_by.get(job['source'])!r}"


def the_bytes_are_right(evidence: Evidence) -> Iterator[str]:
    """A download that ended well is the whole film of that very video."""
    for entry in evidence.of("download"):
        if entry["prompt"] != evidence.prompts.get(entry["id"]) or not entry["alike"]:
            yield f"the content of {entry['id']} is the film of {entry['prompt']!r}"
        elif entry["lines"] != CONTENT_LINES:
            yield f"the content of {entry['id']} has {entry['lines']} lines of {CONTENT_LINES}"


def tenants_do_not_see_each_other(evidence: Evidence) -> Iterator[str]:
    """Somebody else's video is a 404."""
    for entry in evidence.of("pry"):
        if entry["status"] == 200:
            yield f"{entry['tenant']} saw {entry['id']}"
    for entry in evidence.of("see"):
        if entry["status"] != "missing" and evidence.tenants[entry["id"]] != entry["tenant"]:
            yield f"{entry['tenant']} saw {entry['id']}"


def secrets_stay_inside(evidence: Evidence) -> Iterator[str]:
    """No id, address or key of an upstream in an answer or in the log; no prompt in the log; no traceback."""
    for entry in evidence.of("leak"):
        yield f"{entry['path']} answered {entry['text']!r}"
    words = (*evidence.secrets, *{f"soak {entry['client']} " for entry in evidence.of("create")})
    for name, lines in evidence.logs.items():
        for number, line in enumerate(lines, 1):
            if any(word in line for word in words):
                yield f"{name}:{number}: {line[:300]}"
            elif line.startswith("Traceback (most recent call last)"):
                yield f"{name}:{number}: a traceback, which ends {_last_line(lines, number)}"


def _last_line(lines: list[str], start: int) -> str:
    return next((line for line in lines[start:] if line and not line.startswith((" ", "Traceback"))), "")


def every_event_is_delivered(evidence: Evidence) -> Iterator[str]:
    """Each endpoint hears of each end that it asked for, validly signed, under one id; and of nothing else."""
    heard: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    endpoints = {entry["name"]: entry for entry in evidence.events("endpoint")}
    for delivery in evidence.events("delivery"):
        heard[delivery["endpoint"], delivery["video"]].append(delivery)
        what = f"{delivery['type']} of {delivery['video']} at {delivery['endpoint']}"
        if not delivery["valid"]:
            yield f"{what}: the signature is not valid"
        endpoint = endpoints.get(delivery["endpoint"], {})
        if delivery["type"] not in endpoint.get("types", ()):
            yield f"{what}: it was not asked for"
        if evidence.tenants.get(delivery["video"]) != endpoint.get("tenant"):
            yield f"{what}: it is not a video of that tenant"
        if delivery["type"] != f"video.{evidence.ends.get(delivery['video'])}" and delivery["video"] in evidence.ends:
            yield f"{what}: it is {evidence.ends[delivery['video']]}"
    for video_id, status in evidence.ends.items():
        for name, endpoint in endpoints.items():
            if evidence.tenants[video_id] != endpoint["tenant"] or f"video.{status}" not in endpoint["types"]:
                continue
            deliveries = heard[name, video_id]
            if not deliveries:
                yield f"video.{status} of {video_id} never came to {name}"
            elif all(delivery["failure"] for delivery in deliveries):
                yield f"video.{status} of {video_id} was not sent to {name} again after {deliveries[-1]['failure']}"
            if len({delivery["webhook_id"] for delivery in deliveries}) > 1:
                yield f"video.{status} of {video_id} came to {name} under several ids"
    for entry in evidence.events("redirect followed"):
        yield f"a redirect was followed at {entry['t']:.3f}"


def the_storm_was_one(evidence: Evidence) -> Iterator[str]:
    """A run in which nothing happened proves nothing."""
    kills = len(evidence.events("kill"))
    completed = sum(status == "completed" for status in evidence.ends.values())
    for what, count in (
        ("jobs", len(evidence.jobs)),
        ("completed videos", completed),
        ("sights", len(evidence.of("see"))),
    ):
        if count <= kills:
            yield f"only {count} {what} in {kills} kills"
    hit = {entry["phase"] for entry in evidence.events("kill")}
    for phase in [phase for entry in evidence.events("options") for phase in entry["phases"]]:
        if kills >= MANY_KILLS and phase not in hit:
            yield f"{kills} kills, and none at: {phase}"
    if evidence.events("endpoint") and not evidence.events("delivery"):
        yield "no delivery came"
    if not evidence.survey:
        yield "nobody asked the public API in the end"


LAWS: tuple[Law, ...] = (
    nothing_accepted_is_lost,
    nothing_is_paid_twice,
    what_is_paid_is_listed,
    states_only_move_forward,
    nothing_stays_on_its_way,
    verdicts_are_the_upstreams_own,
    one_call_is_one_video,
    remixes_stay_on_their_account,
    the_bytes_are_right,
    tenants_do_not_see_each_other,
    secrets_stay_inside,
    every_event_is_delivered,
    the_storm_was_one,
)


def breaches(evidence: Evidence) -> dict[str, list[str]]:
    """What broke each law, by its name; a law that holds has an empty list."""
    return {law.__name__: list(law(evidence)) for law in LAWS}


def verdict(evidence: Evidence, most: int = 12) -> tuple[bool, str]:
    """Whether all laws hold, and lines that say so law by law, with at most so many breaches of each."""
    lines = []
    found = breaches(evidence)
    for law, broken in found.items():
        count = f": {len(broken)}" if broken else ""
        lines.append(f"{'BROKEN' if broken else 'holds '} {law.replace('_', ' ')}{count}")
        lines += [f"         {breach}" for breach in broken[:most]]
        if len(broken) > most:
            lines.append(f"         and {len(broken) - most} more")
    return not any(found.values()), "\n".join(lines)


if __name__ == "__main__":
    held, text = verdict(load(Path(sys.argv[1])))
    print(text)  # noqa: T201
    sys.exit(not held)
