"""One request of somebody who is logged in, and what a page answers it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from proxy.accounts.sessions import key_of
from proxy.dashboard import appearance, languages, notices
from proxy.dashboard.templating import environment

if TYPE_CHECKING:
    from proxy.dashboard.guard import Login
    from proxy.dashboard.surroundings import Surroundings
    from proxy.records import Key, Session, User

PAGE_HEADERS: Final[Mapping[str, str]] = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""The headers of every answer but those of `/dashboard/api`."""


@dataclass(slots=True)
class View:
    """What a page knows. `nav` is the entry of the navigation that is marked; `login` is None on the login page and on
    errors before it. `secure` says whether the browser speaks https with us."""

    request: web.Request
    site: Surroundings
    nav: str
    login: Login | None
    secure: bool

    @property
    def user(self) -> User:
        return self._login.user

    @property
    def session(self) -> Session:
        return self._login.session

    @property
    def key(self) -> Key:
        """The key that this user's requests act with: for the engine."""
        return key_of(self.user)

    @property
    def is_admin(self) -> bool:
        return self.login is not None and self.login.user.role == "admin"

    @property
    def token(self) -> str:
        """What the forms and the script of this session's pages carry."""
        return "" if self.login is None else self.site.accounts.sessions.csrf(self.login.token)

    @property
    def language(self) -> str:
        return languages.chosen(self.request)

    @property
    def theme(self) -> str:
        return appearance.theme_of(self.request)

    def say(self, text: str, /, **values: object) -> str:
        """The text in the language of this page; `{name}` is replaced by the value of that name."""
        return languages.words(self.language).say(text, **values)

    def address(self, **changes: object) -> str:
        """The address of this page with another query: None takes a parameter out."""
        query = {name: value for name, value in self.request.query.items() if name not in changes}
        query |= {name: str(value) for name, value in changes.items() if value is not None}
        return str(self.request.rel_url.with_query(query))

    def render(self, template: str, /, *, status: int = 200, **context: Any) -> web.Response:
        """The answer that shows `template`."""
        sessions = self.site.accounts.sessions
        notice = None if self.login is None else notices.find(self.request, sessions, self.login.token)
        text = environment(self.language).get_template(template).render(view=self, notice=notice, **context)
        response = web.Response(text=text, status=status, content_type="text/html")
        if notice is not None:
            notices.forget(response)
        if self.request.query.get("language") in languages.LANGUAGES:
            appearance.remember(response, languages.COOKIE, self.language, secure=self.secure)
        return response

    def go(self, address: str, *, notice: str | None = None) -> web.Response:
        """The answer that leads to a page of ours, which says `notice` once."""
        response = web.Response(status=303, headers={hdrs.LOCATION: address})
        if notice is not None and self.login is not None:
            notices.leave(response, self.site.accounts.sessions, self.login.token, notice, secure=self.secure)
        return response

    @property
    def _login(self) -> Login:
        assert self.login is not None
        return self.login
