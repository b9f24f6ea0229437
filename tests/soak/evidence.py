"""What a run left behind, read from its files alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.soak.journal import Entry, read

FINAL = ("completed", "failed")


@dataclass(slots=True, frozen=True)
class Deletion:
    """One DELETE: when it was asked, when its 200 was there (None: it is not known whether it was carried out)."""

    asked: float
    done: float | None


@dataclass(kw_only=True)
class Evidence:
    """The files of a run. Histories are in the order in which they were written, across clients."""

    history: list[Entry] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)
    record: list[Entry] = field(default_factory=list)
    survey: list[Entry] = field(default_factory=list)
    run: list[Entry] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)

    def of(self, *ops: str) -> list[Entry]:
        """The entries of the histories with one of these operations."""
        return [entry for entry in self.history if entry["op"] in ops]

    def events(self, name: str) -> list[Entry]:
        """The events of this name, in all files that hold events."""
        return [entry for entry in (*self.run, *self.ledger, *self.record) if entry["event"] == name]

    @cached_property
    def secrets(self) -> list[str]:
        return [word for entry in self.events("secrets") for word in entry["words"]]

    @cached_property
    def calls(self) -> dict[str, list[Entry]]:
        """Every call that makes a video, by the prompt that names it, with its entries."""
        calls: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.of("create", "remix", "replay"):
            calls[entry["call"]].append(entry)
        return dict(calls)

    @cached_property
    def accepted(self) -> dict[str, Entry]:
        """The ids that a 200 had, each with the first entry that says so."""
        found: dict[str, Entry] = {}
        for entry in self.of("create", "remix", "replay"):
            if entry["type"] == "ok":
                found.setdefault(entry["id"], entry)
        return found

    @cached_property
    def deletions(self) -> dict[str, Deletion]:
        """What its owner deleted, or may have."""
        asked: dict[str, float] = {}
        found: dict[str, Deletion] = {}
        for entry in self.of("delete"):
            video_id = entry["id"]
            if entry["type"] == "invoke":
                asked.setdefault(video_id, entry["t"])
            elif entry["type"] == "ok":
                found[video_id] = Deletion(asked[video_id], entry["t"])
            elif entry["type"] == "info":
                found.setdefault(video_id, Deletion(asked[video_id], None))
        return found

    @cached_property
    def listed(self) -> dict[str, Entry]:
        """The videos that the public API lists in the end, by id, each with its `tenant`."""
        return {
            entry["listed"]["id"]: {**entry["listed"], "tenant": entry["tenant"]}
            for entry in self.survey
            if "listed" in entry
        }

    @cached_property
    def prompts(self) -> dict[str, str]:
        """The prompt of every video that anybody saw."""
        found = {entry["id"]: entry["prompt"] for entry in self.of("see") if entry.get("prompt")}
        found.update({video_id: entry["call"] for video_id, entry in self.accepted.items()})
        found.update({video_id: video["prompt"] for video_id, video in self.listed.items()})
        return found

    @cached_property
    def tenants(self) -> dict[str, str]:
        """The owner of every video that anybody saw."""
        found = {entry["id"]: entry["tenant"] for entry in self.of("see", "create", "remix") if "id" in entry}
        return found | {video_id: video["tenant"] for video_id, video in self.listed.items()}

    @cached_property
    def jobs(self) -> dict[str, list[Entry]]:
        """The jobs that the upstream was paid for, by prompt."""
        jobs: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.events("taken"):
            jobs[entry["prompt"]].append(entry)
        return dict(jobs)

    @cached_property
    def ends(self) -> dict[str, str]:
        """How each video ended, as far as anybody saw it, also of those that are deleted."""
        found = {entry["id"]: entry["status"] for entry in self.of("see") if entry["status"] in FINAL}
        found.update({one: video["status"] for one, video in self.listed.items() if video["status"] in FINAL})
        return found


def load(folder: Path) -> Evidence:
    """What the run in `folder` left."""
    history = [entry for path in sorted(folder.glob("history-*.jsonl")) for entry in read(path)]
    return Evidence(
        history=sorted(history, key=lambda entry: entry["t"]),
        ledger=read(folder / "upstream.jsonl"),
        record=read(folder / "receiver.jsonl"),
        survey=read(folder / "survey.jsonl"),
        run=read(folder / "run.jsonl"),
        logs={path.name: path.read_text("utf-8", "replace").splitlines() for path in folder.glob("server-*.log")},
    )
