"""`/dashboard/unknown`: submissions that nobody knows the outcome of, and the three answers of an operator."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from proxy import money
from proxy.dashboard.forms import Form
from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.engine.inbox import WORDS, Answer, Word
from proxy.errors import ApiError, InvalidRequest, Stopping, VideoNotFound
from proxy.ids import ID_PATTERN

pages = Pages("unknown", admin=True)

HERE: Final = "/dashboard/unknown"
PAGE: Final = 20
MAX_NOTE: Final = 2000


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page."""
    return await _page(view)


@pages.take(HERE + "/{id}/resolve")
async def resolve(view: View, form: Form) -> web.StreamResponse:
    """Settle the doubt about a video."""
    video_id = view.request.match_info["id"]
    answer = Answer(
        word=_word(form.text("answer")),
        upstream_id=form.text("upstream_id") or None,
        note=form.text("note")[:MAX_NOTE],
        force=form.ticked("force"),
    )
    if answer.word != "attach":
        answer = Answer(word=answer.word, note=answer.note)
    try:
        _, delivered = await view.site.engine.inbox.resolve(video_id, answer, view.key)
    except (VideoNotFound, Stopping):
        raise
    except ApiError as error:
        wrong = {"video_id": video_id, "answer": answer, "message": error.message, "param": error.param}
        return await _page(view, wrong, status=error.status)
    if delivered is not None:
        return view.go(f"/dashboard/videos/{delivered.id}", notice=view.say("It was found. This video delivers it."))
    said = {
        "not_created": view.say("Settled: it was never made, and nothing is charged for it."),
        "give_up": view.say("Settled: nobody looks for it any more."),
    }
    return view.go(HERE, notice=said.get(answer.word))


def _word(typed: str) -> Word:
    for word in WORDS:
        if typed == word:
            return word
    raise InvalidRequest("Choose one of the three answers.")


async def _page(view: View, wrong: dict[str, Any] | None = None, *, status: int = 200) -> web.Response:
    after = view.request.query.get("after", "")
    known = after if ID_PATTERN.fullmatch(after) else None
    doubts, more = await view.site.engine.reports.doubts(after=known, limit=PAGE)
    owners = {user.tenant: user.name for user in await view.site.accounts.users.all()}
    if wrong is not None and not any(doubt.dossier.video.id == wrong["video_id"] for doubt in doubts):
        # It is on another page, or settled meanwhile: then nothing in the list is to blame.
        wrong["video_id"] = None
    return view.render(
        "unknown.html",
        status=status,
        doubts=[(doubt, None if doubt.price is None else money.amount(doubt.price)) for doubt in doubts],
        owners=owners,
        wrong=wrong,
        older=f"{HERE}?after={doubts[-1].attempt.id}" if more else None,
        newest=HERE if known is not None else None,
        max_note=MAX_NOTE,
    )
