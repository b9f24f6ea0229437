"""What the dashboard is given by `app.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.config import Server

if TYPE_CHECKING:
    from proxy.accounts import Accounts
    from proxy.engine import Engine
    from proxy.records import Key
    from proxy.store import Store
    from proxy.webhooks import Endpoints


Call = tuple[str, str, Handler]
"""Method, path and handler of a route of the API that the pages' script may call under `/dashboard/api`."""


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """The rooms that the pages show. What needs the store is put in when the application starts.

    `acting` is where the handlers of `calls` find whose a request is: they ask anew while a stream lasts. `request_id`
    tells what a request is called in the log.
    """

    settings: Server
    acting: web.RequestKey[Callable[[], Awaitable[Key]]]
    calls: Sequence[Call]
    request_id: Callable[[web.Request], str]
    engine: Engine
    store: Store
    accounts: Accounts
    webhooks: Endpoints
