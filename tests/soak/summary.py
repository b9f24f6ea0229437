"""A table of what happened in a run."""

from __future__ import annotations

from collections import Counter
from statistics import median

from tests.soak.evidence import Evidence


def table(evidence: Evidence) -> str:
    """Lines of name and count, in groups."""
    makes = evidence.of("create", "remix")
    ends = [entry for entry in makes if entry["type"] != "invoke"]
    taken = evidence.events("taken")
    received = evidence.events("received")
    wrong = Counter(entry["wrong"] or "answered well" for entry in received)
    deliveries = evidence.events("delivery")
    events = {(entry["endpoint"], entry["webhook_id"]) for entry in deliveries}
    deleted = Counter(entry["type"] for entry in evidence.of("delete"))
    completed = {evidence.prompts[one] for one, status in evidence.ends.items() if status == "completed"}
    broken = [job["prompt"] for job in taken if job["wrong"]]
    unsure = [entry["call"] for entry in ends if entry["type"] == "info"]
    codes = Counter((video["error"] or {"code": "completed"})["code"] for video in evidence.listed.values())
    lost = [
        job
        for video in evidence.listed.values()
        if (video["error"] or {}).get("code") == "outcome_unknown"
        for job in evidence.jobs.get(video["prompt"], [])
    ]
    asked = {entry["account"] for entry in evidence.events("looked up")}
    starts = [entry["after"] for entry in evidence.events("ready")] or [0]
    last = max((entry["t"] for entry in evidence.run), default=0.0)
    first = min((entry["t"] for entry in evidence.run), default=0.0)
    settled = [entry["after"] for entry in evidence.events("settled")]
    groups: dict[str, dict[str, object]] = {
        "run": {
            "seconds": round(last - first),
            "seconds of calm until all ended": settled[0] if settled else "never",
            "sights of videos": len(evidence.of("see")),
            "downloads": len(evidence.of("download")),
        },
        "calls": {
            **Counter(f"{entry['op']}: {entry['type']}" for entry in makes),
            "sent again": sum(entry["sent"] - 1 for entry in ends),
            "refused for good": sum(entry["type"] == "fail" for entry in ends),
            "replays with an Idempotency-Key": len(evidence.of("replay")),
            **{f"delete: {kind}": count for kind, count in deleted.items()},
        },
        "upstream": {
            "POSTs": len(received),
            **{f"POSTs: {kind}": count for kind, count in sorted(wrong.items())},
            "jobs paid": len(taken),
            "jobs paid with a broken answer": len(broken),
            "looked up": len(evidence.events("looked up")),
        },
        "videos in the end": {
            **codes,
            "recovered (the answer was broken, the video is completed)": sum(one in completed for one in broken),
            "found again (the call ended without an answer)": sum(one in completed for one in unsure),
            "paid, and failed as outcome_unknown": len(lost),
            "of these at the account that can be asked": sum(job["account"] in asked for job in lost),
        },
        "kills": {
            "in all": len(evidence.events("kill")),
            **Counter(entry["phase"] for entry in evidence.events("kill")),
            "seconds until ready again, median": median(starts),
            "seconds until ready again, at most": max(starts),
            "pauses": len(evidence.events("pause")),
            "ended by themselves after a pause": len(evidence.events("ended")),
        },
        "webhooks": {
            "deliveries": len(deliveries),
            "events": len(events),
            "failed by the receiver": sum(entry["failure"] is not None for entry in deliveries),
            "delivered again": len(deliveries) - len(events),
        },
    }
    lines = []
    for name, rows in groups.items():
        lines.append(name)
        lines += [f"  {value!s:>8}  {row}" for row, value in rows.items()]
    return "\n".join(lines)
