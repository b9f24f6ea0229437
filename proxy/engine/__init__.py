"""The life of a video: accept, route, submit, poll, recover, finish."""

from proxy.engine.cards import ModelCard
from proxy.engine.core import Core
from proxy.engine.engine import Engine, Page
from proxy.engine.replays import Answer

__all__ = ["Answer", "Core", "Engine", "ModelCard", "Page"]
