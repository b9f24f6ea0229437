"""What Runway's official SDK does with the simulator; run by an environment that has it: URL KEY OTHER_KEY FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import typing_extensions as te
from runwayml import AuthenticationError, BadRequestError, NotFoundError, RunwayML, TaskFailedError
from runwayml.lib import polling
from runwayml.types import image_to_video_create_params, text_to_video_create_params, video_to_video_create_params

from tests.simulators.runway_models import IMAGE, OLD_MODELS, RULES, TEXT, VIDEO

CLIP: dict[str, Any] = {"model": "gen4.5", "prompt_text": "a paper boat", "ratio": "1280:720", "duration": 5}


def aliased(hint: Any) -> tuple[Any, str | None, bool]:
    """The type of a field, its name on the wire where that differs, and whether it must be there."""
    alias, required = None, False
    while (origin := te.get_origin(hint)) in (te.Required, te.Annotated):
        required = required or origin is te.Required
        alias = getattr(te.get_args(hint)[1], "alias", None) if origin is te.Annotated else alias
        hint = te.get_args(hint)[0]
    return hint, alias, required


def check_tables() -> None:
    """Every model of the SDK has the simulator's fields, the required ones and the words; there are no others."""
    seen = set()
    for route, params in (
        (IMAGE, image_to_video_create_params.ImageToVideoCreateParams),
        (TEXT, text_to_video_create_params.TextToVideoCreateParams),
        (VIDEO, video_to_video_create_params.VideoToVideoCreateParams),
    ):
        for variant in te.get_args(params):
            hints = {name: aliased(hint) for name, hint in te.get_type_hints(variant, include_extras=True).items()}
            (model,) = te.get_args(hints.pop("model")[0])
            fields = {alias or name: (hint, required) for name, (hint, alias, required) in hints.items()}
            rule = RULES[route, model]
            assert rule.fields == fields.keys(), (route, model, rule.fields ^ fields.keys())
            assert rule.required == {name for name, (_, required) in fields.items() if required}, (route, model)
            for name in ("ratio", "resolution", "outputFormat", "mode", "targetAspectRatio"):
                if name in fields:
                    legal = set(te.get_args(fields[name][0]))
                    assert set(rule.words.get(name, ())) == legal, (route, model, name)
            if "duration" in fields and (words := te.get_args(fields["duration"][0])):
                exact = " ".join(map(str, words)) == rule.duration
                assert exact or "auto" in rule.duration, (route, model, "duration")
            seen.add((route, model))
    assert {key for key in RULES if key[1] not in OLD_MODELS} == seen


def check_life(sdk: RunwayML, folder: Path) -> None:
    """A task of each route comes to its end; its link is public and new at each look."""
    made = sdk.text_to_video.create(**CLIP, seed=4_294_967_295)
    assert made.estimated_cost.credits == 60
    done = made.wait_for_task_output()
    assert done.status == "SUCCEEDED"
    assert done.cost.credits == 60
    again = sdk.tasks.retrieve(made.id)
    assert again.status == "SUCCEEDED"
    assert again.output != done.output
    film = httpx.get(done.output[0])
    assert film.headers["content-type"] == "video/mp4"
    assert film.content[4:8] == b"ftyp"
    uploaded = sdk.uploads.create_ephemeral(file=folder / "picture.png")
    frames: Any = [{"uri": uploaded.uri, "position": place} for place in ("first", "last")]
    veo = sdk.image_to_video.create(model="veo3.1", prompt_image=frames, ratio="1920:1080", duration=8, audio=False)
    assert veo.estimated_cost.credits == 160
    assert veo.wait_for_task_output().status == "SUCCEEDED"
    edit = sdk.video_to_video.create(model="aleph2", video_uri=again.output[0], prompt_text="in winter")
    assert edit.wait_for_task_output().status == "SUCCEEDED"


def check_states(sdk: RunwayML) -> None:
    """The states that the test gave by the prompt are read, each by its own type."""
    for state in ("PENDING", "THROTTLED", "RUNNING", "CANCELLED"):
        made = sdk.text_to_video.create(**{**CLIP, "prompt_text": f"STATE {state}"})
        task = sdk.tasks.retrieve(made.id)
        assert task.status == state
        sdk.tasks.delete(made.id)
        try:
            sdk.tasks.retrieve(made.id)
        except NotFoundError:
            continue
        raise AssertionError(f"{state}: the task is still there")
    for code in ("SAFETY.INPUT.TEXT", "INTERNAL.BAD_OUTPUT.CODE01", "ASSET.INVALID"):
        try:
            sdk.text_to_video.create(**{**CLIP, "prompt_text": f"FAIL {code}"}).wait_for_task_output()
        except TaskFailedError as failed:
            details: Any = failed.task_details
            assert (details.failure_code, details.cost.credits) == (code, 0)
            assert details.failure
            continue
        raise AssertionError(f"{code}: the task did not fail")


def check_refusals(url: str, key: str, other: str) -> None:
    """A wrong key, another version and a wrong body raise what the SDK has for them."""
    calls: list[tuple[type[Exception], dict[str, Any], dict[str, Any]]] = [
        (AuthenticationError, {"api_key": f"key_{'0' * 128}"}, {}),
        (BadRequestError, {"runway_version": "2023-01-01"}, {}),
        (BadRequestError, {}, {"ratio": "1920:1080"}),
        (BadRequestError, {}, {"duration": 11}),
        (BadRequestError, {}, {"extra_body": {"n": 2}}),
    ]
    for kind, client, body in calls:
        with RunwayML(**{"base_url": url, "api_key": key, "max_retries": 0, **client}) as sdk:
            try:
                sdk.text_to_video.create(**{**CLIP, **body})
            except kind:
                continue
            raise AssertionError(f"{client} {body} was taken")
    with RunwayML(base_url=url, api_key=other, max_retries=0, _strict_response_validation=True) as sdk:
        assert sdk.organization.retrieve().credit_balance == 10_000


def main(url: str, key: str, other: str, folder: str) -> None:
    polling.POLL_TIME = polling.POLL_JITTER = 0
    check_tables()
    with RunwayML(base_url=url, api_key=key, max_retries=0, _strict_response_validation=True) as sdk:
        check_life(sdk, Path(folder))
        check_states(sdk)
    check_refusals(url, key, other)


if __name__ == "__main__":
    main(*sys.argv[1:])
