"""An upstream's answer, as plugins read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.errors import UpstreamError

_STEP: Final = re.compile(r"[^.\[\]]+")


class Reply:
    """An upstream's answer: `status`, lower-case `headers`, and `data`, the decoded JSON (None when it is none).

    A path such as `"task.output[0].url"` (or `"task.output.0.url"`) walks objects and lists.
    """

    __slots__ = ("channel", "data", "headers", "status", "text")

    def __init__(
        self,
        data: Any,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        text: str = "",
        channel: str = "",
    ) -> None:
        self.data = data
        self.status = status
        self.headers = headers or {}
        self.text = text
        self.channel = channel

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, or `default` where any step is missing or null."""
        value = self.data
        for step in _STEP.findall(path):
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return default
        return default if value is None else value

    def need(self, path: str) -> Any:
        """The value at `path`; an `UpstreamError` that names the path where there is none."""
        value = self.get(path)
        if value is None or value == "":
            raise UpstreamError(f"{self._who()} answered {self.status} without {path}")
        return value

    def choose(self, path: str, words: Mapping[Any, Any]) -> Any:
        """`words[value at path]`; an `UpstreamError` that names an unknown word, so that it never fails a job."""
        value = self.need(path)
        try:
            return words[value]
        except (KeyError, TypeError):
            raise UpstreamError(f"{self._who()}: unknown {path} {str(value)[:60]!r}") from None

    def _who(self) -> str:
        return self.channel or "the upstream"
