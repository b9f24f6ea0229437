"""Nodes that a ComfyUI server may have, and how it validates a graph of them before it queues it.

Rules: ComfyUI's own execution.py (`validate_prompt`, `validate_inputs`) and nodes.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 16384
"""The longest side, and the longest film in frames, that a node takes."""
SEEDS = 2**64 - 1
SAMPLERS = "euler|euler_ancestral|heun|dpmpp_2m|dpmpp_2m_sde|ddim|res_multistep|uni_pc|lcm"
SCHEDULERS = "simple|sgm_uniform|karras|exponential|ddim_uniform|beta|normal|linear_quadratic|kl_optimal"
SHAPE = f"width:INT:16:{MOST} height:INT:16:{MOST} length:INT:1:{MOST} batch_size:INT:1:4096"
SAMPLER = (
    f"model:MODEL seed:INT:0:{SEEDS} steps:INT:1:10000 cfg:FLOAT:0:100 sampler_name:{SAMPLERS} "
    f"scheduler:{SCHEDULERS} positive:CONDITIONING negative:CONDITIONING latent_image:LATENT denoise:FLOAT:0:1"
)
WAN = f"positive:CONDITIONING negative:CONDITIONING vae:VAE {SHAPE}"
UNLOOKED_FOR = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What a graph may make the validation stumble over: it is said at the node."""
_PLACE = re.compile(r"(.*) \[(?:input|output|temp)\]")


@dataclass(frozen=True, slots=True)
class Node:
    """A class of nodes. An input is TYPE, TYPE:min:max, a|list|of|words, or COMBO for any word of a long list."""

    required: Mapping[str, str]
    outputs: tuple[str, ...]
    optional: Mapping[str, str] = field(default_factory=dict)
    shows: str = ""
    """The kind of file that an output node leaves; empty where it leaves none."""


def node(required: str, outputs: str = "", *, optional: str = "", shows: str = "") -> Node:
    inputs = [dict(word.split(":", 1) for word in words.split()) for words in (required, optional)]
    return Node(inputs[0], tuple(outputs.split()), inputs[1], shows)


NODES: Mapping[str, Node] = {
    "CheckpointLoaderSimple": node("ckpt_name:COMBO", "MODEL CLIP VAE"),
    "UNETLoader": node("unet_name:COMBO weight_dtype:default|fp8_e4m3fn|fp8_e4m3fn_fast|fp8_e5m2", "MODEL"),
    "CLIPLoader": node("clip_name:COMBO type:COMBO", "CLIP", optional="device:default|cpu"),
    "DualCLIPLoader": node("clip_name1:COMBO clip_name2:COMBO type:COMBO", "CLIP", optional="device:default|cpu"),
    "VAELoader": node("vae_name:COMBO", "VAE"),
    "LoraLoaderModelOnly": node("model:MODEL lora_name:COMBO strength_model:FLOAT:-100:100", "MODEL"),
    "ModelSamplingSD3": node("model:MODEL shift:FLOAT:0:100", "MODEL"),
    "CLIPTextEncode": node("text:STRING clip:CLIP", "CONDITIONING"),
    "LTXVConditioning": node(
        "positive:CONDITIONING negative:CONDITIONING frame_rate:FLOAT:0:1000", "CONDITIONING CONDITIONING"
    ),
    "LoadImage": node("image:COMBO", "IMAGE MASK"),
    "ImageScale": node(
        f"image:IMAGE upscale_method:nearest-exact|bilinear|area|bicubic|lanczos width:INT:0:{MOST} "
        f"height:INT:0:{MOST} crop:disabled|center",
        "IMAGE",
    ),
    "EmptyLatentImage": node(f"width:INT:16:{MOST} height:INT:16:{MOST} batch_size:INT:1:4096", "LATENT"),
    "EmptyHunyuanLatentVideo": node(SHAPE, "LATENT"),
    "EmptyLTXVLatentVideo": node(SHAPE.replace(":16:", ":64:"), "LATENT"),
    "WanImageToVideo": node(
        WAN, "CONDITIONING CONDITIONING LATENT", optional="clip_vision_output:CLIP_VISION_OUTPUT start_image:IMAGE"
    ),
    "WanFirstLastFrameToVideo": node(
        WAN, "CONDITIONING CONDITIONING LATENT", optional="start_image:IMAGE end_image:IMAGE"
    ),
    "Wan22ImageToVideoLatent": node(f"vae:VAE {SHAPE}", "LATENT", optional="start_image:IMAGE"),
    "KSampler": node(SAMPLER, "LATENT"),
    "KSamplerAdvanced": node(
        SAMPLER.replace(" denoise:FLOAT:0:1", "").replace("seed:", "noise_seed:")
        + " add_noise:enable|disable start_at_step:INT:0:10000 end_at_step:INT:0:10000"
        " return_with_leftover_noise:disable|enable",
        "LATENT",
    ),
    "VAEDecode": node("samples:LATENT vae:VAE", "IMAGE"),
    "CreateVideo": node("images:IMAGE fps:FLOAT:1:120", "VIDEO", optional="audio:AUDIO"),
    "SaveVideo": node("video:VIDEO filename_prefix:STRING format:auto|mp4 codec:auto|h264", shows="mp4"),
    "SaveWEBM": node(
        "images:IMAGE filename_prefix:STRING codec:vp9|av1 fps:FLOAT:0.01:1000 crf:FLOAT:0:63", shows="webm"
    ),
    "SaveAnimatedWEBP": node(
        "images:IMAGE filename_prefix:STRING fps:FLOAT:0.01:1000 lossless:BOOLEAN quality:INT:0:100 "
        "method:default|fastest|slowest",
        shows="webp",
    ),
    "VHS_VideoCombine": node(
        "images:IMAGE frame_rate:FLOAT:1 loop_count:INT:0:100 filename_prefix:STRING "
        "format:image/gif|image/webp|video/h264-mp4|video/h265-mp4|video/av1-webm|video/webm "
        "pingpong:BOOLEAN save_output:BOOLEAN",
        "VHS_FILENAMES",
        optional="audio:AUDIO vae:VAE",
        shows="gifs",
    ),
    "SaveImage": node("images:IMAGE filename_prefix:STRING", shows="png"),
    "PreviewImage": node("images:IMAGE", shows="preview"),
}


class Verdict(Exception):
    """The graph cannot be queued: the `error` of the answer and what is wrong with each node."""

    def __init__(self, error: dict[str, Any], node_errors: dict[str, Any]) -> None:
        super().__init__(error["type"])
        self.error = error
        self.node_errors = node_errors


def wrong(kind: str, message: str, details: str, **extra: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


@dataclass(slots=True)
class Validation:
    """One look at one graph: `exists` says whether a file is among the inputs."""

    graph: Mapping[str, Any]
    nodes: Mapping[str, Node]
    exists: Callable[[str], bool]
    seen: dict[str, tuple[bool, list[dict[str, Any]]]] = field(default_factory=dict)

    def outputs(self, targets: Collection[str] | None) -> tuple[list[str], dict[str, Any]]:
        """The output nodes that will be executed, and what is wrong with the others: one good one is enough."""
        ends = self._ends(targets)
        good: list[str] = []
        details: list[str] = []
        node_errors: dict[str, Any] = {}
        for end in ends:
            valid, reasons = self._of_output(end)
            if valid:
                good.append(end)
                continue
            details += [f"{reason['message']}: {reason['details']}" for reason in reasons]
            for name, (fine, why) in self.seen.items():
                if not fine and why:
                    kind = self.graph[name]["class_type"]
                    entry = {"errors": why, "dependent_outputs": [], "class_type": kind}
                    node_errors.setdefault(name, entry)["dependent_outputs"].append(end)
        if not good:
            kind, message = "prompt_outputs_failed_validation", "Prompt outputs failed validation"
            raise Verdict(wrong(kind, message, "\n".join(details)), node_errors)
        return good, node_errors

    def _ends(self, targets: Collection[str] | None) -> list[str]:
        ends = []
        for name, made in self.graph.items():
            place = f"Node ID '#{name}'"
            if "class_type" not in made:
                said = "Cannot execute because a node is missing the class_type property."
                raise Verdict(wrong("invalid_prompt", said, place), {})
            kind = made["class_type"]
            if kind not in self.nodes:
                said = f"Node '{kind}' not found. The custom node may not be installed."
                raise Verdict(wrong("missing_node_type", said, place, node_id=name, class_type=kind), {})
            if self.nodes[kind].shows and (targets is None or name in targets):
                ends.append(name)
        if not ends:
            raise Verdict(wrong("prompt_no_outputs", "Prompt has no outputs", ""), {})
        return ends

    def _of_output(self, name: str) -> tuple[bool, list[dict[str, Any]]]:
        try:
            return self.look(name)
        except UNLOOKED_FOR as error:
            kind = "exception_during_validation"
            said = wrong(kind, "Exception when validating node", str(error), exception_type=type(error).__name__)
            self.seen[name] = (False, [said])
            return self.seen[name]

    def look(self, name: str) -> tuple[bool, list[dict[str, Any]]]:
        """Whether a node and all that it stands on are right; a link into the void is an exception, as there."""
        if name in self.seen:
            return self.seen[name]
        made = self.graph[name]
        kind, inputs = self.nodes[made["class_type"]], made["inputs"]
        fine, errors = True, []
        for place, rule in {**kind.required, **kind.optional}.items():
            if place not in inputs:
                if place in kind.required:
                    missing = "Required input is missing"
                    errors.append(wrong("required_input_missing", missing, place, input_name=place))
            elif isinstance(inputs[place], list):
                below, error = self._linked(place, rule, inputs[place])
                fine = fine and below
                errors += [error] if error else []
            elif error := value_error(place, rule, inputs):
                errors.append(error)
        if made["class_type"] == "LoadImage" and not errors and not self.exists(plain(inputs["image"])):
            details = f"image - Invalid image file: {inputs['image']}"
            said = "Custom validation failed for node"
            errors.append(wrong("custom_validation_failed", said, details, input_name="image"))
        self.seen[name] = (fine and not errors, errors)
        return self.seen[name]

    def _linked(self, place: str, rule: str, link: list[Any]) -> tuple[bool, dict[str, Any] | None]:
        if len(link) != 2:
            said = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return True, wrong("bad_linked_input", said, place, input_name=place, received_value=link)
        source, slot = link
        received = self.nodes[self.graph[source]["class_type"]].outputs[slot]
        if received != rule.partition(":")[0]:
            details = f"{place}, received_type({received}) mismatch input_type({rule.partition(':')[0]})"
            said = "Return type mismatch between linked nodes"
            return True, wrong("return_type_mismatch", said, details, input_name=place, linked_node=link)
        try:
            return self.look(source)[0], None
        except UNLOOKED_FOR as error:
            kind, said = "exception_during_inner_validation", "Exception when validating inner node"
            self.seen[source] = (False, [wrong(kind, said, str(error), input_name=place, linked_node=link)])
            return False, None


def plain(value: Any) -> str:
    """The name of a file without the note of its folder."""
    found = _PLACE.fullmatch(str(value))
    return found[1] if found else str(value)


def value_error(place: str, rule: str, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """What is wrong with a value that is no link. A number may come as text: it is put right in the graph."""
    value = inputs[place]
    kind, *bounds = rule.split(":")
    if convert := {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}.get(kind):
        try:
            value = inputs[place] = convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            said, details = f"Failed to convert an input value to a {kind} value", f"{place}, {value}, {error}"
            return wrong("invalid_input_type", said, details, input_name=place, received_value=value)
    ends = [int(bound) if bound.isdigit() else float(bound) for bound in bounds]
    if ends and value < ends[0]:
        said = f"Value {value} smaller than min of {bounds[0]}"
        return wrong("value_smaller_than_min", said, place, input_name=place, received_value=value)
    if len(ends) > 1 and value > ends[1]:
        said = f"Value {value} bigger than max of {bounds[1]}"
        return wrong("value_bigger_than_max", said, place, input_name=place, received_value=value)
    if "|" in rule and value not in rule.split("|"):
        details = f"{place}: '{value}' not in {rule.split('|')}"
        return wrong("value_not_in_list", "Value not in list", details, input_name=place, received_value=value)
    return None
