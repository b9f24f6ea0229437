"""Writes docs/providers.md from the plugins' own classes: `make docs`. A test holds the file against it."""

from __future__ import annotations

import sys
from pathlib import Path

from proxy import loader
from proxy.channel import OPERATIONS, Channel
from proxy.commands.plugins import address_words, native_words, price_words, seconds_words
from proxy.loader.manual import OptionFact, options_of
from proxy.models import Model

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "providers.md"

UPSTREAMS = {
    "ark": "Seedance on Volcengine Ark and BytePlus ModelArk",
    "comfyui": "a ComfyUI server, with a workflow of your own",
    "dashscope": "Wan and HappyHorse on Alibaba's DashScope (Model Studio)",
    "demo": "none: it renders on this machine",
    "fal": "fal, any video endpoint of its queue",
    "gemini": "Gemini Omni (Interactions API), or the older `predictLongRunning` shape that gateways serve",
    "kling": "Kling, the official API",
    "minimax": "MiniMax Hailuo, both versions of its API",
    "openai": "any service that speaks `/v1/videos`: Azure, gateways, self-hosted servers, another Reelgate",
    "replicate": "Replicate: official models, versions, deployments",
    "runway": "Runway, its own models and its partners'",
    "vertex": "Veo on Vertex AI",
    "vidu": "Vidu",
    "xai": "Grok Imagine video",
}
"""What each bundled plugin talks to; a plugin without a line here is a mistake."""

ORACLES = {
    "ark": "volcengine-ark-runtime, byteplus-python-sdk-v2",
    "comfyui": "comfy-cli",
    "dashscope": "dashscope",
    "fal": "fal-client",
    "gemini": "google-genai",
    "kling": "kling-api",
    "minimax": "minimax-mcp, @ai-sdk/minimax",
    "openai": "openai (Python, Node)",
    "replicate": "replicate",
    "runway": "runwayml",
    "vertex": "google-genai",
    "vidu": "vidu-mcp",
    "xai": "@ai-sdk/xai",
}
"""The SDK that each plugin's simulator is driven with: the provider's own, where one speaks its HTTP."""

HEAD = """\
# Providers

<!-- Written by `make docs` from the plugins themselves: change those. -->

What the bundled plugins can do. `reelgate plugins show TYPE` says the same of the plugins that a server has, also of
those that you dropped in. Each is proven by the contract for [plugin authors](plugin-authors.md), against a simulator
that was written from the provider's documentation, not from the plugin; an SDK, the provider's own where it has one,
is driven against the same simulator (`make oracles`).

"Native" means that the provider does it itself; a remix or an edit that it cannot do is made anew from a frame of the
source, where the model takes a picture ([`remix`](configuration.md#remix)). An extension is always native.
Durations are in seconds, prices in US dollars per second as the provider publishes them; `price:` of an entry says
yours. `1080p 0.12` is the price of videos whose short side has 1080 pixels, `silent 0.20` that of videos without sound.
"""


def page() -> str:
    """The whole text of docs/providers.md."""
    found = loader.survey([], (), entry_points=False).channels
    classes = {kind: found[kind].cls for kind in sorted(found)}
    if missing := sorted(classes.keys() ^ UPSTREAMS.keys()):
        raise SystemExit(f"docs/providers.py does not fit the plugins: {', '.join(missing)}")
    parts = [HEAD, _overview(classes)]
    parts += [_section(kind, cls) for kind, cls in classes.items()]
    return "\n".join(parts)


def _overview(classes: dict[str, type[Channel]]) -> str:
    rows = [
        [
            f"[`{kind}`](#{kind})",
            UPSTREAMS[kind],
            _inputs(cls),
            *(_yes(cls.can(one)) for one in OPERATIONS),
            _proof(kind),
        ]
        for kind, cls in classes.items()
    ]
    return _table(["type", "upstream", "pictures", *OPERATIONS, "proven by"], rows)


def _inputs(cls: type[Channel]) -> str:
    models = [*cls.models.values()] or [cls.default_model]
    most = [model.max_images for model in models if model.image]
    if not most:
        return "none"
    count = "any number" if None in most else f"up to {max(filter(None, most))}"
    last = ", last frame" if any(model.last_frame for model in models) else ""
    return f"{count}{last}{', by public address' if cls.picture_form.address else ''}"


def _proof(kind: str) -> str:
    simulated = (ROOT / "tests" / "simulators" / f"{kind}.py").exists()
    words = ["contract", *(["simulator"] if simulated else []), *([ORACLES[kind]] if kind in ORACLES else [])]
    return ", ".join(words)


def _section(kind: str, cls: type[Channel]) -> str:
    parts = [f"## {kind}\n", f"{UPSTREAMS[kind][0].upper()}{UPSTREAMS[kind][1:]}. Type `{kind}`"]
    parts[-1] += f", address `{cls.base_url}`.\n" if cls.base_url else f"; its address: {address_words(cls)}.\n"
    rows = [[f"`{fact.name}`", fact.form, _default(fact), fact.about] for fact in options_of(cls)]
    parts.append(_table(["key", "form", "default", "what it says"], rows))
    if cls.models:
        names = ["model", "seconds", "sizes", "pictures", "last frame", "sound", "native", "US$ per second"]
        parts.append(_table(names, [_model(cls, name, model) for name, model in cls.models.items()]))
    else:
        parts.append("Any model name is passed on. Say in the entry's `models` what each can do.\n")
    return "\n".join(parts)


def _default(fact: OptionFact) -> str:
    if fact.default is None:
        return "required"
    return f"`{fact.default}`" if fact.default else ""


def _model(cls: type[Channel], name: str, model: Model) -> list[str]:
    pictures = "none" if not model.image else "any" if model.max_images is None else str(model.max_images)
    sound = {True: "yes", False: "no", None: "not known"}[model.audio]
    return [
        f"`{name}`",
        seconds_words(model.seconds) or "any",
        " ".join(model.sizes) or "any",
        pictures,
        _yes(model.last_frame),
        sound,
        native_words(cls, model) or "-",
        price_words(model) or "not known",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _yes(yes: bool) -> str:
    return "yes" if yes else "-"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(page())
    else:
        FILE.write_text(page(), "utf-8")
