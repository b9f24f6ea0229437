"""`/admin/api`: what only an operator may see and change. Here channels and upstream ids have their names; the keys of
providers have no way in: nothing in here reads a channel's options."""

from __future__ import annotations

from typing import Final

from aiohttp.typedefs import Handler

from proxy.api.admin import audit, channels, keys, unknown, usage, users, videos

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/admin/api/unknown", unknown.page),
    ("GET", "/admin/api/videos", videos.page),
    ("GET", "/admin/api/videos/{id:[^/]+}", videos.retrieve),
    ("POST", "/admin/api/videos/{id:[^/]+}/resolve", unknown.resolve),
    ("GET", "/admin/api/channels", channels.page),
    ("POST", "/admin/api/channels/{name:[^/]+}/enable", channels.enable),
    ("POST", "/admin/api/channels/{name:[^/]+}/disable", channels.disable),
    ("POST", "/admin/api/channels/{name:[^/]+}/follow_file", channels.follow_file),
    ("POST", "/admin/api/channels/{name:[^/]+}/test", channels.test),
    ("GET", "/admin/api/keys", keys.page),
    ("POST", "/admin/api/keys", keys.create),
    ("GET", "/admin/api/keys/{id:[^/]+}", keys.retrieve),
    ("POST", "/admin/api/keys/{id:[^/]+}", keys.change),
    ("DELETE", "/admin/api/keys/{id:[^/]+}", keys.revoke),
    ("GET", "/admin/api/users", users.page),
    ("POST", "/admin/api/users", users.create),
    ("GET", "/admin/api/users/{id:[^/]+}", users.retrieve),
    ("POST", "/admin/api/users/{id:[^/]+}", users.change),
    ("DELETE", "/admin/api/users/{id:[^/]+}/sessions", users.log_out),
    ("GET", "/admin/api/usage", usage.retrieve),
    ("GET", "/admin/api/audit", audit.page),
)
"""Method, path and handler of every route of the admin API."""
