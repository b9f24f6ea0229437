"""Workflow templates of ComfyUI, and what its answers say about the nodes of one."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from proxy import ApiError, InvalidRequest, JobError, Reply, UpstreamError, UpstreamJob, UpstreamRefused

PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)
PARAMS: Final = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "model": None,
    "width": "size",
    "height": "size",
    "frames": "seconds",
    "seconds": "seconds",
    "fps": None,
    "seed": "seed",
    "image": None,
    "last_frame": None,
}
"""Every placeholder, and the client's parameter that it stands for; None where only the operator can change it, or the
server has lost what we brought it."""
FRAMES: Final = re.compile(r"([1-9]\d{0,2})k(?:\+(\d{1,3}))?", re.ASCII)
STATES: Final = {"success": "completed", "error": "failed"}
"""The words of a job that has ended; before, its place in the queue says how it is."""
PATH: Final = re.compile(r"(?<![\w.\\/])(?:[A-Za-z]:)?[\\/]+(?:[^\s\\/'\"]+[\\/]+)+[^\s\\/'\"]*")
"""A place on the server's disk, which is nobody's business."""
UNFIT: Final = ("missing_node_type", "invalid_prompt", "prompt_no_outputs")
"""Refusals that no request can help; the second is an older server's for the first."""
FILMS: Final = (".mp4", ".m4v", ".mov", ".webm", ".mkv")
"""Endings of a result, the best first."""


@dataclass(frozen=True, slots=True)
class Template:
    """A workflow in API format; `wants` are the placeholders in it."""

    nodes: Mapping[str, Any]
    wants: frozenset[str]

    def filled(self, values: Mapping[str, Any]) -> Any:
        """The graph with `values` in it."""
        return _filled(self.nodes, values)

    def at(self, node: str, name: str) -> list[str]:
        """The placeholders in one input of a node."""
        inputs = self.nodes.get(node, {}).get("inputs")
        return sorted(_placeholders(inputs.get(name))) if isinstance(inputs, dict) else []


def templates(options: Any) -> tuple[Template, Template]:
    """The workflow of a request without a picture, and that of one with. Blocks."""
    return read(options.workflow), read(options.image_workflow or options.workflow)


def read(workflow: str) -> Template:
    """The template of that path, or of that JSON. Blocks; a `ValueError` says what is wrong."""
    if workflow.lstrip().startswith("{"):
        return template(workflow)
    try:
        found = Path(workflow).stat()
        return _read(workflow, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise ValueError(f"the workflow {workflow} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{workflow}: {error}") from None


@functools.lru_cache
def _read(path: str, changed: int, size: int) -> Template:
    return template(Path(path).read_text("utf-8"))


@functools.lru_cache
def template(text: str) -> Template:
    """The template that `text` is; a `ValueError` says why it is none."""
    try:
        nodes = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the workflow is no JSON") from None
    if isinstance(nodes, dict) and isinstance(nodes.get("nodes"), list):
        raise ValueError("the workflow is in the editor's own format; export it with Export (API)")
    sound = isinstance(nodes, dict) and all(isinstance(node, dict) and "class_type" in node for node in nodes.values())
    if not nodes or not sound:
        raise ValueError("the workflow must be an object of nodes, each with a class_type")
    wants = frozenset(_placeholders(nodes))
    if unknown := wants - PARAMS.keys():
        raise ValueError(f"the workflow has the placeholder {min(unknown)!r}; there are {', '.join(PARAMS)}")
    return Template(nodes, wants)


def _placeholders(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from PLACEHOLDER.findall(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _placeholders(item)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    if alone := PLACEHOLDER.fullmatch(value.strip()):
        return values[alone[1]]
    # In one go: what a client's prompt has in braces is the client's.
    return PLACEHOLDER.sub(lambda found: str(values[found[1]]), value)


def frames(form: str, wanted: float) -> int:
    """The number of frames of that form, such as 4k+1, that is nearest to `wanted`, as the models' makers reckon it."""
    found = FRAMES.fullmatch(form)
    if not found:
        raise ValueError("frames must look like 4k+1 or 1k")
    step, more = int(found[1]), int(found[2] or 0)
    return step * max(1, round(wanted / step)) + more


def ended(job_id: str, history: Reply) -> UpstreamJob:
    """A job that the history has."""
    entry = history.data.get(job_id) if isinstance(history.data, dict) else None
    told = Reply(entry, status=history.status, channel=history.channel)
    status = told.choose("status.status_str", STATES)
    file = film(told.get("outputs")) if status == "completed" else None
    return UpstreamJob(
        id=job_id,
        status=status,
        error=JobError("upstream_failed", why(told.get("status.messages"))) if status == "failed" else None,
        facts={"file": file} if file else {},
    )


class Queued(NamedTuple):
    """A job in the queue: the client that it was ordered by, and its graph."""

    id: str
    client: str
    graph: dict[str, Any]
    runs: bool


def queued(job_id: str, queue: Reply) -> Queued | None:
    """The job of that id, or of the client of that id: an old server makes the jobs' ids itself."""
    for place in ("queue_running", "queue_pending"):
        rows = queue.get(place)
        if not isinstance(rows, list):
            raise UpstreamError(f"The upstream's queue has no {place}.")
        for row in (row for row in rows if isinstance(row, list)):
            _, its_id, graph, extra = (*row[:4], *[None] * 4)[:4]
            client = extra.get("client_id") if isinstance(extra, dict) else None
            if isinstance(its_id, str) and job_id in (its_id, client):
                graph = graph if isinstance(graph, dict) else {}
                return Queued(its_id, client if isinstance(client, str) else its_id, graph, place == "queue_running")
    return None


def film(outputs: Any) -> dict[str, str] | None:
    """The video among the outputs of a job, which each kind of node lists under a word of its own; None without one."""
    found = []
    for output in outputs.values() if isinstance(outputs, dict) else ():
        lists = [kind for kind in output.values() if isinstance(kind, list)] if isinstance(output, dict) else []
        for item in (item for kind in lists for item in kind if isinstance(item, dict)):
            file = {name: item.get(name) or "" for name in ("filename", "subfolder", "type")}
            if all(isinstance(word, str) for word in file.values()):
                ending = Path(file["filename"]).suffix.lower()
                found += [(file["type"] != "output", FILMS.index(ending), file)] if ending in FILMS else []
    return min(found, key=lambda one: one[:2])[2] if found else None


def why(messages: Any) -> str:
    """Why a job failed, out of the messages about its execution."""
    for message in reversed(messages) if isinstance(messages, list) else ():
        kind, facts = message if isinstance(message, list) and len(message) == 2 else (None, None)
        if kind == "execution_error" and isinstance(facts, dict):
            said = [word for word in map(facts.get, ("node_type", "exception_message")) if isinstance(word, str)]
            return PATH.sub("[path]", ": ".join(word.strip() for word in said if word.strip()))
        if kind == "execution_interrupted":
            return "The job was interrupted at the upstream."
    return ""


def unfit(reply: Reply, *templates: Template) -> ApiError | None:
    """The error that the refusal of a graph means, which was made of one of `templates`."""
    found = list(_blamed(reply.get("node_errors")))
    for node, field, said in found:
        # What the client's words stand in is the client's to change, and all else the operator's.
        for param in (PARAMS[name] for one in templates for name in one.at(node, field)):
            if param:
                return InvalidRequest(f"The upstream refused the request: {said}", param=param)
    if found or reply.get("error.type") in UNFIT:
        return UpstreamRefused("The workflow of this channel does not fit its server. Only the operator can help.")
    return None


def _blamed(node_errors: Any) -> Iterator[tuple[str, str, str]]:
    """Node, input and sentence of each error that the validation of a graph found."""
    for node, found in node_errors.items() if isinstance(node_errors, dict) else ():
        errors = found.get("errors") if isinstance(found, dict) else None
        for error in (item for item in errors if isinstance(item, dict)) if isinstance(errors, list) else ():
            extra = error.get("extra_info")
            name = extra.get("input_name") if isinstance(extra, dict) else None
            said = [word for word in (error.get("message"), error.get("details")) if isinstance(word, str) and word]
            yield node, str(name), ": ".join(said)
