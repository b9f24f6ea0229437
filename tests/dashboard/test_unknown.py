"""The inbox of unknown outcomes as a page: its evidence, the three answers, and who may give them."""

from __future__ import annotations

import pytest

from proxy.errors import UpstreamGone
from proxy.models import UpstreamJob
from tests.dashboard.conftest import Desk, Open
from tests.dashboard.filming import doubtful, ended, link, words

HERE = "/dashboard/unknown"
TEXT = """
server: {unknown_grace: 3600}
channels:
  - {name: a, type: puppet, models: [sora-2], poll_every: 0.02, price: {per_second: 0.25}}
  - {name: b, type: lookup, models: [sora-3], poll_every: 0.02}
"""


@pytest.fixture
async def inbox(open_desk: Open) -> Desk:
    return await open_desk(TEXT)


async def test_it_is_for_admins(inbox: Desk) -> None:
    """A member is told so, and settles nothing; the empty page says what it is for."""
    anna, otto = await inbox.logged_in(), await inbox.logged_in("otto")
    assert "Nothing is in doubt" in (await otto.get(HERE)).text
    video_id = await doubtful(inbox, anna)
    assert (await anna.get(HERE)).status == 403
    assert (await anna.submit(f"{HERE}/{video_id}/resolve", answer="give_up")).status == 403
    assert (await ended(inbox, video_id, "unknown")).attempt_id


async def test_the_evidence_is_in_plain_words(inbox: Desk) -> None:
    """Whose it is, where it went, what was heard, what it may have cost, and what happens by itself; all as text."""
    anna, otto = await inbox.logged_in(), await inbox.logged_in("otto")
    await doubtful(inbox, anna, prompt="a <i>lamp</i>", seconds=8)
    await doubtful(inbox, anna, "b", model="sora-3")
    page = (await otto.get(HERE)).text
    assert "<b>broke" not in page
    assert "<i>lamp" not in page
    told = words(page)
    for fact in ("a <i>lamp</i>", "anna · sora-2 · 8 s", "The line <b>broke</b>.", "It may have cost $2.00"):
        assert fact in told
    assert "It may have cost not known" in told
    assert "This provider cannot be asked what it took. If nobody says anything, the video fails:" in told
    assert "It is being looked up at the provider." in told


async def test_a_job_that_was_found_is_delivered(inbox: Desk) -> None:
    """A wrong id is told beside its field and stays there to be mended; the right one leads to the video."""
    anna, otto = await inbox.logged_in(), await inbox.logged_in("otto")
    video_id = await doubtful(inbox, anna)
    address, channel = f"{HERE}/{video_id}/resolve", inbox.product.channel("a")
    channel.then("fetch", UpstreamGone("no such job"))
    wrong = await otto.submit(address, answer="attach", upstream_id="typo-17", note="from the console")
    assert wrong.status == 400
    assert 'value="typo-17" aria-invalid="true"' in wrong.text
    assert 'value="from the console"' in wrong.text
    assert 'name="force"' in wrong.text
    assert "says that it has no job with this id" in words(wrong.text)
    for bad in ("", "two words"):
        assert (await otto.submit(address, answer="attach", upstream_id=bad)).status == 400
    assert (await inbox.product.core.newest(video_id)).stage == "unknown"
    channel.then("fetch", UpstreamJob(id="up-17", status="completed"))
    right = await otto.submit(address, answer="attach", upstream_id="up-17")
    assert (right.status, right.location) == (303, f"/dashboard/videos/{video_id}")
    assert (await ended(inbox, video_id)).status == "completed"
    assert "An operator found it at the provider" in words((await anna.get(right.location)).text)
    assert "Nothing is in doubt" in (await otto.get(HERE)).text


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ("not_created", "upstream_failed", "made sure that it was never taken"),
        ("give_up", "outcome_unknown", "gave up"),
    ],
)
async def test_the_other_two_answers_end_the_video(inbox: Desk, answer: str, code: str, told: str) -> None:
    """What was reserved goes back, the note is in the audit, and another answer afterwards is refused in words."""
    anna, otto = await inbox.logged_in(), await inbox.logged_in("otto")
    video_id = await doubtful(inbox, anna)
    settled = await otto.submit(f"{HERE}/{video_id}/resolve", answer=answer, note="asked <them>", upstream_id="ignored")
    assert (settled.status, settled.location) == (303, HERE)
    video = await inbox.product.core.newest(video_id)
    assert (video.status, video.error_code, video.charge) == ("failed", code, 0)
    assert told in words((await anna.get(f"/dashboard/videos/{video_id}")).text)
    assert "asked" not in (await anna.get(f"/dashboard/videos/{video_id}")).text
    assert "otto" in words((await otto.get("/dashboard/audit")).text)
    assert "Note asked <them>" in words((await otto.get("/dashboard/audit")).text)
    again = await otto.submit(f"{HERE}/{video_id}/resolve", answer="attach", upstream_id="up-1")
    assert again.status == 400
    assert "that is final" in words(again.text)
    assert (await otto.submit(f"{HERE}/{video_id}/resolve", answer="shrug")).status == 400


async def test_what_was_found_too_late_is_delivered_as_another_video(inbox: Desk) -> None:
    """The old page leads to the new one, which stands for the same owner."""
    anna, otto = await inbox.logged_in(), await inbox.logged_in("otto")
    video_id = await doubtful(inbox, anna)
    assert (await anna.submit(f"/dashboard/videos/{video_id}/delete")).status == 400
    assert (await anna.submit(f"/dashboard/videos/{video_id}/delete", force="yes")).status == 303
    assert "is delivered as a new video in its place" in words((await otto.get(HERE)).text)
    found = await otto.submit(f"{HERE}/{video_id}/resolve", answer="attach", upstream_id="up-9")
    new = found.location.removeprefix("/dashboard/videos/")
    assert new != video_id
    await ended(inbox, new)
    assert (await anna.get(found.location)).status == 200
    assert new in (await otto.get(f"/dashboard/videos/{video_id}")).text


async def test_the_list_is_paged(inbox: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each doubt once, newest first; an answer on a later page does not lose its error."""
    from proxy.dashboard.pages import unknown

    monkeypatch.setattr(unknown, "PAGE", 1)
    otto = await inbox.logged_in("otto")
    ids = [await doubtful(inbox, otto, prompt=f"lamp {number}") for number in range(3)]
    seen, address = [], HERE
    while address:
        text = (await otto.get(address)).text
        seen += [one for one in ids if f"/dashboard/unknown/{one}/resolve" in text]
        address = link(text, "older")
    assert seen == ids[::-1]
    wrong = await otto.submit(f"{HERE}/{ids[0]}/resolve", answer="attach", upstream_id="")
    assert "give the upstream's id of it" in words(wrong.text)
