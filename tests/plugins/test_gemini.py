"""plugins/gemini.py: the laws of every channel, in both shapes and both ways to get a film."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import plugins.gemini
from proxy import Channel
from proxy.testing import ChannelContract
from tests.plugins.gemini_wire import KEY
from tests.simulators.gemini import GeminiSimulator

OTHER = "AIzaSy-reelgate-other-91c4e7d05b"


class GeminiKit(ChannelContract):
    plugin = "gemini"
    plugin_file = Path(plugins.gemini.__file__)
    simulator = GeminiSimulator
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": OTHER}


class TestGemini(GeminiKit):
    """Omni, whose films are files."""

    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": {"omni": "gemini-omni-1.2-flash"}}
    states: ClassVar[Mapping[str, str]] = {
        "queued": "queued",
        "in_progress": "in_progress",
        "requires_action": "in_progress",
        "requires_continuation": "in_progress",
        "completed": "completed",
        "filtered": "failed",
        "failed": "failed",
        "cancelled": "failed",
        "incomplete": "failed",
        "budget_exceeded": "failed",
    }


class TestGeminiInline(TestGemini):
    """Omni, whose films come within the answer."""

    entry: ClassVar[Mapping[str, Any]] = {**TestGemini.entry, "delivery": "inline"}


class TestGeminiPredict(GeminiKit):
    """Veo, which can do less: what an entry's shape cannot do is refused although the class can do it."""

    entry: ClassVar[Mapping[str, Any]] = {
        "api_key": KEY,
        "models": {"veo": "veo-3.1-generate-preview"},
        "shape": "predict",
    }
    # No word is on the wire: what is not done runs, and what is done without a film was held back.
    states: ClassVar[Mapping[str, str]] = {
        "queued": "in_progress",
        "in_progress": "in_progress",
        "completed": "completed",
        "filtered": "failed",
        "failed": "failed",
    }
    unknown_state = None

    def channel_class(self) -> type[Channel]:
        cls = super().channel_class()
        return type("Predicting", (cls,), {"can": classmethod(lambda _, word: word in ("extend", "delete"))})
