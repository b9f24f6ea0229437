"""What an operator does to a channel while the server runs: switch it off or on, and try whether it answers."""

from __future__ import annotations

import sqlite3

from proxy.channels import LiveChannel
from proxy.engine.core import Core
from proxy.engine.probing import Probe, probe
from proxy.errors import NotFound
from proxy.records import Key
from proxy.store import inbox, switches


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
        """Ask a channel's upstream what costs nothing. Raises `NotFound`."""
        return await probe(self._find(name))

    def _find(self, name: str) -> LiveChannel:
        live = self._core.channels.get(name)
        if live is None:
            raise NotFound(f"There is no channel called '{name[:80]}' in channels.yaml.")
        return live
