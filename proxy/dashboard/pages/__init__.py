"""The pages behind the login, a module for each entry of the navigation.

A page is a handler here and a template in `../templates`:

    pages = Pages("keys")                       # the entry of the navigation that is marked as the current one

    @pages.show("/dashboard/keys")              # admin=True: others are told that it is not for them
    async def overview(view: View) -> web.StreamResponse:
        return view.render("keys.html", keys=await …)

    @pages.take("/dashboard/keys/{id}/revoke")  # a form; its token and its origin are checked before
    async def revoke(view: View, form: Form) -> web.StreamResponse:
        …
        return view.go("/dashboard/keys", notice=view.say("The key was revoked."))

and the module's `pages` in `ALL`. The template extends `base.html`, says its texts with `_("…")`, and takes its parts
from `macros.html`; the Chinese of them is in a file of `../words/zh`.
"""

from __future__ import annotations

from typing import Final

from proxy.dashboard.pages import account, audit, channels, keys, studio, unknown, usage, users, video, videos, webhooks
from proxy.dashboard.routing import Pages

ALL: Final[tuple[Pages, ...]] = (
    studio.pages,
    videos.pages,
    video.pages,
    usage.pages,
    keys.pages,
    webhooks.pages,
    unknown.pages,
    channels.pages,
    users.pages,
    audit.pages,
    account.pages,
)
