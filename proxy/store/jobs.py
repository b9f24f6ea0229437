"""An upstream's job as it is stored: JSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxy.models import UpstreamJob
from proxy.spooled import Spooled


def _without_film(value: Any) -> None:
    # A film that came with a job is a file of its own. Whatever else JSON has no word for must not be lost in silence.
    if not isinstance(value, Spooled):
        raise TypeError(f"a job with a {type(value).__name__} cannot be stored")


encode: Final = msgspec.json.Encoder(enc_hook=_without_film).encode
decode: Final = msgspec.json.Decoder(UpstreamJob).decode
