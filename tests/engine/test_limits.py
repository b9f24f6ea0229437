"""What a model can do, held against what was asked (P8)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.channel import PRICED_METADATA
from proxy.engine.limits import check_inputs, check_metadata, default_size, merged_metadata, settle
from proxy.errors import InvalidRequest, UnsupportedOperation
from proxy.models import SIZE_PATTERN, Model
from proxy.records import Ask, Upload

VEO = Model(seconds=(4, 6, 8), sizes=("1280x720", "720x1280", "1920x1080"), default_seconds=8)
RATIOS = Model(sizes=("16:9", "9:16"))


def ask(**values: object) -> Ask:
    return Ask(**{"kind": "create", "prompt": "p", "fingerprint": b"", **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "size", "model", "expected"),
    [
        (None, None, Model(), (4, "720x1280")),
        (None, None, VEO, (8, "1280x720")),
        (None, None, Model(seconds=(5, 10)), (5, "720x1280")),
        (None, None, Model(seconds=(5, 4)), (4, "720x1280")),
        (None, None, RATIOS, (4, "1280x720")),
        (None, None, Model(seconds=(6, 8), default_seconds=5), (6, "720x1280")),
        (None, None, Model(sizes=("1:1",), default_size="1280x720"), (4, "720x720")),
        (None, None, Model(default_seconds=9, default_size="1:1"), (9, "720x720")),
        (7, "333x444", Model(), (7, "333x444")),
        (4, "16:9", Model(), (4, "1280x720")),
        (4, "9:16", Model(), (4, "720x1280")),
        (4, "1:1", Model(), (4, "720x720")),
        (4, "21:9", Model(), (4, "1680x720")),
        (6, "16:9", VEO, (6, "1280x720")),
        (6, "9:16", VEO, (6, "720x1280")),
        (4, "1920x1080", RATIOS, (4, "1920x1080")),
        (4, "9:16", RATIOS, (4, "720x1280")),
        (4, "1338x720", Model(sizes=("13:7",)), (4, "1338x720")),
        (4, "16:9", Model(sizes=("1920x1088", "864x480", "1248x704")), (4, "1248x704")),
        (4, "21:9", Model(sizes=("864x496", "960x416")), (4, "960x416")),
        (4, "16:9", Model(sizes=("864x496", "1792x1024", "1920x1080")), (4, "1920x1080")),
        (4, "7:4", Model(sizes=("1280x720", "1792x1024")), (4, "1792x1024")),
    ],
)
def test_settle(seconds: int | None, size: str | None, model: Model, expected: tuple[int, str]) -> None:
    """What is left out is the model's own default; a ratio becomes the pixels that the model makes of it, exactly or,
    for a common one, nearly."""
    assert settle(seconds, size, model, "strict")[:2] == expected


@pytest.mark.parametrize(
    ("seconds", "size", "model", "param", "words"),
    [
        (5, None, VEO, "seconds", "'4', '6', and '8'"),
        (4, "1024x1792", VEO, "size", "'1280x720'"),
        (4, "1:1", VEO, "size", "'1280x720'"),
        (4, "7:4", VEO, "size", "'1280x720'"),
        (4, "4:3", Model(sizes=("1536x1024",)), "size", "'1536x1024'"),
        (4, "1024x1024", RATIOS, "size", "'16:9', and '9:16'"),
        (3, None, Model(seconds=(5,)), "seconds", "'5'."),
    ],
)
def test_outside_the_limits(seconds: int | None, size: str | None, model: Model, param: str, words: str) -> None:
    """A value outside is refused with the parameter to blame and the legal values."""
    with pytest.raises(InvalidRequest) as caught:
        settle(seconds, size, model, "strict")
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("seconds", "size", "model", "expected"),
    [
        (5, None, VEO, (4, "1280x720", "seconds=5")),
        (20, "1000x1000", VEO, (8, "1280x720", "seconds=20; size=1000x1000")),
        (4, "1080x1920", VEO, (4, "720x1280", "size=1080x1920")),
        (4, "2000x1100", VEO, (4, "1920x1080", "size=2000x1100")),
        (4, "1000x1010", RATIOS, (4, "720x1280", "size=1000x1010")),
        (8, "1280x720", VEO, (8, "1280x720", None)),
    ],
)
def test_nearest(seconds: int, size: str | None, model: Model, expected: tuple[int, str, str | None]) -> None:
    """`mapping: nearest` moves to the nearest legal value and says what was asked."""
    assert settle(seconds, size, model, "nearest") == expected


sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000)).map(lambda pair: f"{pair[0]}x{pair[1]}")
# The pixels of the last two are a little off them.
ratios = st.sampled_from(["16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "3:2", "13:7", "7:13"])


@settings(deadline=None)
@given(
    st.one_of(st.none(), st.integers(1, 3600)),
    st.one_of(st.none(), sizes, ratios),
    st.lists(st.integers(1, 60), max_size=4),
    st.lists(st.one_of(sizes, ratios), max_size=5),
)
def test_nearest_is_always_legal(seconds: int | None, size: str | None, legal: list[int], words: list[str]) -> None:
    """Whatever is asked of whatever model: what is ordered is pixels, and legal."""
    model = Model(seconds=tuple(legal), sizes=tuple(words))
    settled = settle(seconds, size, model, "nearest")
    assert SIZE_PATTERN.fullmatch(settled.size)
    assert not legal or settled.seconds in legal
    assert settle(settled.seconds, settled.size, model, "strict")[:2] == settled[:2]
    assert SIZE_PATTERN.fullmatch(default_size(model))


def test_inputs_that_a_model_does_not_take() -> None:
    """A picture for a model without image input, and sound from a silent one, are refused before anything is paid."""
    picture = ask(images=(Upload(param="input_reference", data=b"x"),), model="m")
    with pytest.raises(UnsupportedOperation) as caught:
        check_inputs(picture, "m", Model(image=False))
    assert caught.value.param == "input_reference"
    with pytest.raises(UnsupportedOperation):
        check_inputs(ask(audio=True), "m", Model(audio=False))
    check_inputs(ask(audio=False), "m", Model(audio=False))


@pytest.mark.parametrize(
    ("metadata", "extra", "param"),
    [
        ({"n": 4}, {}, "metadata.n"),
        ({}, {"n": 4}, "n"),
        ({"parameters": {"sampleCount": 4}}, {}, "metadata.parameters.sampleCount"),
        ({"input": [{"deep": {"Duration": 60}}]}, {}, "metadata.input.deep.Duration"),
        ({"model": "dear"}, {}, "metadata.model"),
    ],
)
def test_metadata_that_changes_the_price(metadata: dict[str, object], extra: dict[str, object], param: str) -> None:
    """Keys that change the price are refused by name, at any depth and in any case, unless the operator allows them."""
    with pytest.raises(InvalidRequest) as caught:
        check_metadata(ask(metadata=metadata, extra=extra), PRICED_METADATA, ())
    assert caught.value.param == param
    check_metadata(ask(metadata=metadata, extra=extra), PRICED_METADATA, (param.rsplit(".", 1)[-1],))


def test_metadata_deeper_than_the_stack() -> None:
    """How deep a client's object nests does not matter."""
    deep: dict[str, object] = {}
    for _ in range(20_000):
        deep = {"a": deep}
    check_metadata(ask(metadata=deep), PRICED_METADATA, ())


def test_merged_metadata() -> None:
    """The channel that a request names is the router's; everything else may reach the upstream."""
    merged = merged_metadata(ask(metadata={"camera": "dolly", "channel": "a"}, extra={"style": "noir", "camera": "x"}))
    assert merged == {"camera": "dolly", "style": "noir"}
