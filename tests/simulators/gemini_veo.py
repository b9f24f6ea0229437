"""Veo's predictLongRunning as the Gemini Developer API had it, and as gateways still serve it.

https://ai.google.dev/gemini-api/docs/video as the fact sheet has it. Unknown parameters are ignored and noted; those of
Vertex alone are refused. Not confirmed, and not enforced: how often a video can be extended, what Veo 2 takes beside a
picture.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.testing import Answer, Call, Job, operation
from tests.simulators.gemini_files import KEY, GeminiFiles
from tests.simulators.vertex import CODES, FILTERED

PACKAGE = "type.googleapis.com/google.ai.generativelanguage.v1beta"
RATIOS = ("16:9", "9:16")
PEOPLE = ("allow_all", "allow_adult", "dont_allow")
VERTEX_ONLY = ("generateAudio", "fps", "storageUri", "pubsubTopic", "compressionQuality", "resizeMode")
WORDS = ("aspectRatio", "resolution", "personGeneration")
PARAMETERS = (*WORDS, "sampleCount", "durationSeconds", "seed", "negativePrompt", "enhancePrompt")
DEFAULTS = {"sampleCount": 1, "durationSeconds": 8, "aspectRatio": "16:9", "resolution": "720p"}
MOST_REFERENCES = 3


@dataclass(frozen=True, slots=True)
class Veo:
    """What one model takes. `bound_people`: each kind of input has its one word of personGeneration."""

    seconds: tuple[int, ...] = (4, 6, 8)
    resolutions: tuple[str, ...] = ("720p", "1080p", "4k")
    inputs: tuple[str, ...] = ("prompt", "image", "lastFrame", "referenceImages", "video")
    tall_high: bool = True
    bound_people: bool = True


VEO_31 = Veo()
VEO_30 = Veo(resolutions=("720p", "1080p"), inputs=("prompt", "image"), tall_high=False)
VEO_MODELS = {
    "veo-3.1-generate-preview": VEO_31,
    "veo-3.1-fast-generate-preview": VEO_31,
    "veo-3.1-lite-generate-preview": Veo(
        resolutions=("720p", "1080p"), inputs=("prompt", "image", "lastFrame", "video")
    ),
    "veo-3.0-generate-001": VEO_30,
    "veo-3.0-fast-generate-001": VEO_30,
    "veo-2.0-generate-001": Veo(seconds=(5, 6, 8), resolutions=("720p",), bound_people=False),
}


class Predict(GeminiFiles):
    """Operations, which have no word for their states. Two odd ends are done without a film: "filtered" and "empty"."""

    def __init__(self, *, keys: Collection[str] = (KEY,)) -> None:
        super().__init__(keys=keys)
        self.adults_only = False
        """Whether the caller is where no personGeneration but allow_adult is possible, as in the EU."""

    # -- calls ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1beta/models/{model}:predictLongRunning")
    async def predict(self, call: Call) -> Answer:
        """Answers also as "extend", where a video is given."""
        name = call.match["model"]
        self.known_model(name, VEO_MODELS)
        model = VEO_MODELS[name]
        body = self.body(call, ("instances", "parameters", "webhookConfig"))
        instances = body.get("instances")
        if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
            raise self.refuse("Exactly one instance is needed.")
        instance, given = instances[0], body.get("parameters", {})
        parameters = self.parameters(given, model)
        await self.instance(call, instance, model)
        self.suits_veo(instance, parameters, model)
        self.room(call)
        known = {*PARAMETERS, "prompt", "image", "lastFrame", "referenceImages", "video"}
        ignored = [one for one in (*given, *instance) if one not in known]
        facts = {"instance": instance, "parameters": parameters, "ignored": ignored}
        seconds = parameters["durationSeconds"]
        job = self.take(call, kind=call.operation, shape="predict", model=name, seconds=seconds, **facts)
        self.rename(job, f"models/{name}/operations/{secrets.token_hex(8)}")
        return Answer(json={"name": job.id})

    @operation("fetch", "GET", "/v1beta/models/{model}/operations/{id}")
    async def operation_now(self, call: Call) -> Answer:
        return Answer(json=self.shown(self.poll(call, "models/{model}/operations/{id}".format(**call.match))))

    def find(self, call: Call, job_id: object) -> Job:
        # An operation outlives its file, which is all that can be deleted.
        job = self.jobs.get(job_id) if isinstance(job_id, str) else None
        if job is not None and job.account == call.account and job.facts["shape"] == "predict":
            return job
        return super().find(call, job_id)

    def shown(self, job: Job) -> dict[str, Any]:
        """The operation as it is now."""
        shown: dict[str, Any] = {"name": job.id}
        if job.state == "in_progress":
            shown |= {"done": False, "metadata": {"@type": f"{PACKAGE}.PredictLongRunningMetadata"}}
        elif job.state == "failed":
            code, message = job.failure or ("", "")
            shown |= {"done": True, "error": {"code": CODES.get(code, CODES["INTERNAL"]), "message": message}}
        elif job.state in ("completed", "filtered", "empty"):
            response = {"@type": f"{PACKAGE}.PredictLongRunningResponse", "generateVideoResponse": self.films(job)}
            shown |= {"done": True, "response": response}
        return shown

    def films(self, job: Job) -> dict[str, Any]:
        wanted = job.facts["parameters"]["sampleCount"]
        filtered = wanted if job.state == "filtered" else 0
        made: dict[str, Any] = {}
        if job.state == "completed":
            filtered = job.facts.get("filtered", 0)
            video = {"uri": self.address(self.file_of(job))}
            made["generatedSamples"] = [{"video": video}] * (wanted - filtered)
        if filtered:
            reason = job.failure[1] if job.failure else FILTERED
            made |= {"raiMediaFilteredCount": filtered, "raiMediaFilteredReasons": [reason] * filtered}
        return made

    # -- validation ----------------------------------------------------------------------------------------------------

    def parameters(self, given: Any, model: Veo) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self.refuse("Invalid value at 'parameters': an object.")
        numbers = {"sampleCount": range(1, 5), "durationSeconds": model.seconds, "seed": range(2**32)}
        words = dict(zip(WORDS, (RATIOS, model.resolutions, PEOPLE), strict=True))
        for name, value in given.items():
            if name in VERTEX_ONLY:
                raise self.refuse(f"`{name}` isn't supported by this model. Please remove it.")
            if name in numbers and (type(value) is not int or value not in numbers[name]):
                raise self.refuse(f"The number value {value!r} for `{name}` is out of bound.")
            if name in words and (not isinstance(value, str) or value.lower() not in words[name]):
                raise self.refuse(f"`{value}` is not supported for {name}; there are {', '.join(words[name])}.")
        if not isinstance(given.get("negativePrompt", ""), str) or not isinstance(
            given.get("enhancePrompt", True), bool
        ):
            raise self.refuse("negativePrompt is a text, enhancePrompt true or false.")
        return {**DEFAULTS, **given}

    async def instance(self, call: Call, instance: Mapping[str, Any], model: Veo) -> None:
        """Refuse a prompt, picture, reference or video that the model does not take."""
        prompt = instance.get("prompt", "")
        if not isinstance(prompt, str) or not (prompt or "image" in instance or "video" in instance):
            raise self.refuse("A text prompt is needed.")
        for name in ("lastFrame", "referenceImages", "video"):
            if name in instance and name not in model.inputs:
                raise self.refuse(f"`{name}` isn't supported by this model. Please remove it.")
        for name in ("image", "lastFrame"):
            if name in instance:
                await self.image(name, instance[name])
        references = instance.get("referenceImages", [])
        if not isinstance(references, list) or len(references) > MOST_REFERENCES:
            raise self.refuse(f"At most {MOST_REFERENCES} referenceImages are possible.")
        for reference in references:
            if not isinstance(reference, dict) or str(reference.get("referenceType")).lower() != "asset":
                raise self.refuse("referenceType must be asset.")
            await self.image("referenceImages", reference.get("image"))
        if "video" in instance:
            self.video(call, instance["video"])

    async def image(self, at: str, value: Any) -> None:
        """A picture in base64, as the SDKs send it or as the documents' inlineData."""
        if isinstance(value, dict) and set(value) == {"inlineData"} and isinstance(value["inlineData"], dict):
            await self.picture(at, value["inlineData"].get("data"), value["inlineData"].get("mimeType"))
        elif isinstance(value, dict) and set(value) == {"bytesBase64Encoded", "mimeType"}:
            await self.picture(at, value["bytesBase64Encoded"], value["mimeType"])
        else:
            raise self.refuse(f"Input instance with `{at}` should contain both `bytesBase64Encoded` and `mimeType`.")

    def video(self, call: Call, value: Any) -> None:
        """A film of Veo's own, of 720p, by its address or in base64."""
        if isinstance(value, dict) and set(value) == {"encodedVideo", "encoding"}:
            self.film("video", value["encodedVideo"], value["encoding"])
            return
        uri = value.get("uri") if isinstance(value, dict) else None
        file = self.own_file(call, uri) if isinstance(uri, str) else None
        if file is None or file.job.facts["shape"] != "predict":
            raise self.refuse("The input video must be one that Veo has generated.")
        if file.job.facts["parameters"]["resolution"].lower() != "720p":
            raise self.refuse("Only videos of 720p can be extended.")

    def suits_veo(self, instance: Mapping[str, Any], parameters: Mapping[str, Any], model: Veo) -> None:
        """Refuse what does not go together."""
        resolution = parameters["resolution"].lower()
        longest = resolution != "720p" or instance.get("referenceImages") or "video" in instance
        if longest and parameters["durationSeconds"] != 8:
            raise self.refuse("References, extensions, 1080p and 4k need a durationSeconds of 8.")
        if "video" in instance and resolution != "720p":
            raise self.refuse("An extension has a resolution of 720p.")
        if "lastFrame" in instance and "image" not in instance:
            raise self.refuse("`lastFrame` is possible with `image` only.")
        if not model.tall_high and resolution == "1080p" and parameters["aspectRatio"] != "16:9":
            raise self.refuse("1080p is possible with an aspectRatio of 16:9 only.")
        pictures = any(instance.get(name) for name in ("image", "lastFrame", "referenceImages"))
        possible = "allow_adult" if pictures or self.adults_only else "allow_all"
        people = parameters.get("personGeneration", possible).lower()
        if (model.bound_people or self.adults_only) and people != possible:
            raise self.refuse(f"{people} for personGeneration is currently not supported.")
