"""The hooks that a plugin may implement; the loader refuses a misspelt one.

pluggy only keeps the list: the product calls the implementations itself, one after the other, so that they may be
coroutines and each sees what the one before made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from proxy.channel import Channel

hookspec = pluggy.HookspecMarker("reelgate")
hookimpl = pluggy.HookimplMarker("reelgate")


@hookspec
def register_channel() -> type[Channel]:  # type: ignore[empty-body]
    """Return the `Channel` class that this plugin adds (or a list of classes)."""
