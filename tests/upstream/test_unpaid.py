"""What fails before the paid call has ordered nothing, and what fails after it may have."""

from __future__ import annotations

import pytest

from proxy.errors import InvalidRequest, Outcome, UpstreamError
from proxy.upstream import submission
from proxy.upstream.http import Http
from tests.upstream.conftest import channel


def test_what_fails_inside_was_refused(http: Http) -> None:
    """An error of unknown outcome, such as an answer of another shape, is a certain refusal there."""
    upstream = channel(http, "https://api.example")
    with submission(), pytest.raises(UpstreamError) as caught, upstream.unpaid():
        raise UpstreamError("The answer has no url.")
    assert caught.value.outcome is Outcome.REFUSED


def test_what_is_certain_stays_what_it_is(http: Http) -> None:
    """The client's own mistake goes to the client, and nowhere else."""
    upstream = channel(http, "https://api.example")
    with submission(), pytest.raises(InvalidRequest) as caught, upstream.unpaid():
        raise InvalidRequest("The video is too long.", param="video")
    assert caught.value.outcome is InvalidRequest("").outcome


def test_behind_a_paid_call_nothing_is_certain(http: Http) -> None:
    """Where a paid request may have left before, the outcome is unknown."""
    upstream = channel(http, "https://api.example")
    with submission() as ledger, pytest.raises(UpstreamError) as caught:
        ledger.taken = True
        with upstream.unpaid():
            raise UpstreamError("The answer has no url.")
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("taken", [False, True])
def test_a_plugins_mistake_inside_is_remembered(http: Http, taken: bool) -> None:
    """What is no error of the API passes as it is, and the ledger knows that nothing was ordered before it."""
    upstream = channel(http, "https://api.example")
    mistake = KeyError("url")
    with submission() as ledger, pytest.raises(KeyError):
        ledger.taken = taken
        with upstream.unpaid():
            raise mistake
    assert ledger.before is (None if taken else mistake)
