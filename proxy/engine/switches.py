"""What an operator does to a channel while the server runs: switch it off or on, and try whether it answers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Final, Literal, NamedTuple

from proxy.channels import LiveChannel
from proxy.engine.core import Core, plugin_fault
from proxy.errors import AccountRefused, ApiError, NotFound, UpstreamTimeout, UpstreamUnreachable
from proxy.models import UpstreamJob
from proxy.records import Key
from proxy.store import inbox, switches

PROBE_ID: Final = "reelgate-probe"
"""A job that no upstream has: asking for it costs nothing and needs a good key."""
PROBE_WITHIN: Final = 30.0
"""Seconds until a probe is given up."""

Verdict = Literal["answers", "refused", "unreachable", "failed"]


class Probe(NamedTuple):
    """What came of trying a channel: it `answers`, has `refused` our credentials, is `unreachable`, or its plugin has
    `failed`. `said` is a sentence for the operator; `seconds` is how long it took."""

    verdict: Verdict
    said: str
    seconds: float


class Switches:
    """Enabling, disabling and trying channels."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def read(self) -> None:
        """Let the switches in the store hold here."""
        self._core.channels.switch(await self._core.store.read(switches.every))
        self._core.freed.set()

    async def switch(self, name: str, enabled: bool | None, actor: Key) -> None:
        """Switch a channel off or on over channels.yaml, here and at the next start; None: it goes by the file again.
        Videos that its upstream has go on. Raises `NotFound`."""
        self._find(name)
        at = self._core.clock()
        word = "follow_file" if enabled is None else "enable" if enabled else "disable"

        def write(db: sqlite3.Connection) -> None:
            switches.save(db, name, enabled, at=at, actor=actor.id)
            inbox.note(db, at=at, actor=actor.id, action=f"channel.{word}", subject=name, details={})

        await self._core.store.write(write)
        await self.read()

    async def probe(self, name: str) -> Probe:
        """Ask a channel's upstream for a job that it cannot have, which costs nothing. Raises `NotFound`."""
        live = self._find(name)
        began = time.monotonic()
        verdict, said = await self._asked(live)
        return Probe(verdict, live.channel.upstream.redactor.text(said), time.monotonic() - began)

    async def _asked(self, live: LiveChannel) -> tuple[Verdict, str]:
        try:
            async with asyncio.timeout(PROBE_WITHIN):
                await live.channel.fetch(UpstreamJob(id=PROBE_ID))
        except AccountRefused as error:
            return "refused", error.message
        except (UpstreamUnreachable, UpstreamTimeout) as error:
            return "unreachable", error.message
        except TimeoutError:
            return "unreachable", f"There was no answer within {PROBE_WITHIN:.0f} seconds."
        except ApiError:
            # Whatever it says of a job that it cannot have: it is there, and it has let us ask.
            return "answers", "The upstream answers."
        except Exception as error:
            return "failed", plugin_fault(live, error, "try", (PROBE_ID,)).message
        return "answers", "The upstream answers."

    def _find(self, name: str) -> LiveChannel:
        live = self._core.channels.get(name)
        if live is None:
            raise NotFound(f"There is no channel called '{name[:80]}' in channels.yaml.")
        return live
