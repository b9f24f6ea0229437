"""What single values of channels.yaml must look like, beyond their type.

Each rule takes the conversion that collects the problems, a node, its path and the line of its key, and answers the
built-in value, or `BAD` where it added a problem.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from proxy.config.conversion import BAD, Conversion, shown
from proxy.config.tree import Listing, Node, Scalar, Table, node_of, step
from proxy.models import PRICE_PATTERN, RATIO_PATTERN, SIZE_PATTERN
from proxy.upstream import Timeout

_NAME: Final = re.compile(r"\w[\w.@:+ -]{0,63}")
_BYTES: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]*)", re.ASCII)
_UNITS: Final = {"": 1, "b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_HOST: Final = re.compile(
    r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::([1-9][0-9]{0,4}))?|[0-9a-fA-F.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
)
_LARGEST_PORT: Final = 65535
# One letter would be a drive.
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BUCKET: Final = re.compile(r"(?:s3|gs|gcs|az|azure)://[\w.-]+(?:/[^\s\x00-\x1f]*)?", re.ASCII)


# The words are units, for docs/configuration.md: msgspec passes them over.
Seconds = Annotated[float, msgspec.Meta(gt=0), "seconds"]
Bytes = Annotated[int, "bytes"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Dollars = Annotated[float, msgspec.Meta(ge=0, le=10_000)]
PER_SECOND: Final = "per_second"
"""The price of a second where no other word of a table fits."""


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One public model of a channel: its upstream name, and limits that the entry sets (empty: the plugin's)."""

    upstream: str
    """The upstream's name of the model. Without it, the public one."""
    seconds: tuple[Count, ...] = ()
    """The durations that it can do. Without it, the plugin's."""
    sizes: tuple[str, ...] = ()
    """The sizes (`1280x720`) or ratios (`16:9`) that it can do. Without it, the plugin's."""
    price: dict[str, float] | None = None
    """As the channel's, for this model alone."""


class Breaker(msgspec.Struct, frozen=True):
    """When a channel takes no submissions for a while: after so many failures in a row, or when such a share of the
    last ones failed; `pause` seconds the first time."""

    failures: Count = 5
    """Failures in a row that open it."""
    error_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """The share of failures among the last submissions that opens it."""
    pause: Seconds = 30.0
    """How long it is open the first time."""


class InputLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients may send in: bytes and pixels of one picture, and pictures of one request."""

    max_bytes: Bytes = 20 * 2**20
    """Of one picture."""
    max_pixels: Count = 64_000_000
    """Of one picture; a WebP may have a quarter of it, a progressive JPEG half."""
    max_count: Annotated[int, msgspec.Meta(ge=1, le=16)] = 8
    """Pictures of one request."""


def name(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """A channel's name: it becomes a folder, a label and a word in logs."""
    text = conversion.value(node, str, path, line)
    if text is not BAD and (not _NAME.fullmatch(text) or text != text.strip()):
        rule = "must be 1 to 64 letters, digits or . _ - @ : + and begin with a letter or a digit"
        return conversion.wrong(line, path, f"{rule}, not {shown(node)}")
    return text


def kind(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """The word after `type:`."""
    text = conversion.value(node, str, path, line)
    return conversion.wrong(line, path, "is empty; it says which plugin to use") if text == "" else text


def public_url(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """An http(s) address without a slash at its end, or None."""
    text = conversion.value(node, str | None, path, line)
    if text is BAD or text is None:
        return text
    if not is_address(text) or set("?#@") & set(text):
        return conversion.wrong(line, path, f"must look like https://video.example.com, not {shown(node)}")
    return text.rstrip("/")


def database(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """An address whose file `sqlite_file` gives, or None."""
    text = conversion.value(node, str | None, path, line)
    if text is BAD or text is None:
        return text
    if text.partition("://")[0].partition("+")[0] in ("postgresql", "postgres"):
        return conversion.wrong(line, path, "PostgreSQL is not available yet; write sqlite:///PATH or leave it out")
    if sqlite_file(text, Path()) is None:
        return conversion.wrong(line, path, f"must look like sqlite:///data/reelgate.db, not {shown(node)}")
    return text


def sqlite_file(address: str, folder: Path) -> Path | None:
    """The file of `sqlite:///relative` (to `folder`) or `sqlite:////absolute`; None where it names none."""
    scheme, _, rest = address.partition("://")
    path = unquote(rest.removeprefix("/"))
    if scheme != "sqlite" or not rest.startswith("/") or path.endswith("/") or path in ("", ":memory:") or "\0" in path:
        return None
    return folder / path


def archive(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """A folder, the address of a bucket (`scheme://bucket` and a prefix), or None."""
    if isinstance(node, Scalar) and node.sound and isinstance(node.value, bool | int | float):
        # It would be taken as a folder's name, which nobody means by `off`.
        rule = "must be a folder or a bucket as s3://bucket/prefix, or null for none"
        return conversion.wrong(line, path, f"{rule}, not {shown(node)}")
    text = conversion.value(node, str | None, path, line)
    if text is BAD or text is None:
        return text
    if not _SCHEME.match(text):
        if not text.strip():
            return conversion.wrong(line, path, "is empty; it is a folder or s3://bucket/prefix")
        if text.startswith("~") or _CONTROL.search(text):
            rule = "must be a folder, written out without ~ and control characters"
            return conversion.wrong(line, path, f"{rule}, not {shown(node)}")
        return text
    if set("?#@") & set(text):
        # Not shown: what stands before an @ may be a secret.
        rule = "must be no more than s3://bucket/prefix; credentials go to the environment"
        return conversion.wrong(line, path, rule)
    if not _BUCKET.fullmatch(text):
        rule = "must be a folder, or a bucket as s3://bucket/prefix, gs://… or az://…"
        return conversion.wrong(line, path, f"{rule}, not {shown(node)}")
    return text


def archive_place(text: str, folder: Path) -> str:
    """An archive's folder as an absolute path, relative ones taken from `folder`; a bucket's address as it is."""
    return text if _SCHEME.match(text) else os.path.abspath(folder / text)


def size(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """A number of bytes, also with a unit: 64MiB, 10MB."""
    if isinstance(node, Scalar) and not node.sound:
        return BAD
    match = _BYTES.fullmatch(node.text) if isinstance(node, Scalar) else None
    unit = _UNITS.get(match[2].lower()) if match else None
    if match and unit and 1 <= float(match[1]) * unit <= 2**50:
        return int(float(match[1]) * unit)
    return conversion.wrong(line, path, f"must be a number of bytes such as 64MiB or 10MB, not {shown(node)}")


def size_or_none(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """A number of bytes, or None for no bound."""
    if isinstance(node, Scalar) and node.sound and node.value is None:
        return None
    return size(conversion, node, path, line)


def input_limits(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """`{max_bytes: 20MiB, max_pixels: 64000000, max_count: 8}` in parts."""
    if not isinstance(node, Table):
        return conversion.wrong(line, path, f"must look like {{max_bytes: 20MiB, max_count: 8}}, not {shown(node)}")
    entries = dict(node.entries)
    number: Any = None
    if (text := entries.pop("max_bytes", None)) is not None:
        number = size(conversion, text, step(path, "max_bytes"), node.lines["max_bytes"])
    # The others are looked at too where that one is wrong.
    values = conversion.struct(Table(entries, node.lines, node.line), InputLimits, path, line)
    if values is BAD or number is BAD:
        return BAD
    return values if number is None else {**values, "max_bytes": number}


def models(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """Public names to what `ModelEntry` takes: a list of names, or a mapping to upstream names or to limits."""
    if isinstance(node, Scalar):
        if not node.sound or node.value is None:
            return None
        return conversion.wrong(line, path, f"must be a list or a mapping of models, not {shown(node)}")
    found: dict[str, Any]
    if isinstance(node, Listing):
        names = conversion.value(node, tuple[str, ...], path, line)
        if names is BAD:
            return BAD
        for twice in [one for one, count in Counter(names).items() if count > 1]:
            conversion.wrong(line, path, f"names {twice} more than once")
        found = {one: {"upstream": one} for one in names}
    else:
        found = {
            public: _model(conversion, item, public, step(path, public), node.lines[public])
            for public, item in node.entries.items()
        }
    if "" in found:
        return conversion.wrong(line, path, "has a model without a name")
    if BAD in found.values():
        return BAD
    return found or conversion.wrong(line, path, "names no model; leave the key out to serve the plugin's own")


def _model(conversion: Conversion, node: Node, public: str, path: str, line: int) -> Any:
    if isinstance(node, Scalar):
        upstream = conversion.value(node, str, path, line)
        if upstream == "":
            return conversion.wrong(line, path, "is empty; it must be the upstream's name of the model")
        return BAD if upstream is BAD else {"upstream": upstream}
    if isinstance(node, Listing):
        return conversion.wrong(line, path, "must be the upstream's name of the model, or {upstream, seconds, sizes}")
    whole = Table({"upstream": node_of(public), **node.entries}, {"upstream": line, **node.lines}, node.line)
    own = whole.entries.pop("price", None)
    values = conversion.struct(whole, ModelEntry, path, line)
    if own is not None:
        said = price(conversion, own, step(path, "price"), node.lines["price"])
        values = BAD if BAD in (said, values) else {**values, "price": said}
    sizes = node.entries.get("sizes")
    for item in sizes.items if isinstance(sizes, Listing) else ():
        if isinstance(item, Scalar) and item.sound and not is_size(item.text):
            rule = f"must be sizes like 1280x720 or 16:9, not {shown(item)}"
            values = conversion.wrong(item.line, step(path, "sizes"), rule)
    return values


def is_size(word: str) -> bool:
    """Whether `word` is `WxH` or a ratio."""
    return bool(SIZE_PATTERN.fullmatch(word) or RATIO_PATTERN.fullmatch(word))


def content(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """How clients get the bytes."""
    return conversion.value(node, Literal["proxy", "redirect", "archive"], path, line)


def timeout(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    values = conversion.value(node, Timeout, path, line)
    if isinstance(node, Table):
        for key, item in node.entries.items():
            if isinstance(item, Scalar) and isinstance(item.value, int | float) and item.value <= 0:
                rule = f"must be a number of seconds above 0, not {shown(item)}"
                values = conversion.wrong(node.lines[key], step(path, key), rule)
    return values


def price(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """US dollars per second, and what has another price: `{per_second: 0.40, 1080p: 0.60, 1080p silent: 0.50}`; None
    for the plugin's table."""
    if isinstance(node, Scalar) and node.sound and node.value is None:
        return None
    if not isinstance(node, Table):
        return conversion.wrong(line, path, f"must look like {{per_second: 0.40, 1080p: 0.60}}, not {shown(node)}")
    found: dict[str, Any] = {}
    for word, item in node.entries.items():
        where, at = step(path, word), node.lines[word]
        if word != PER_SECOND and not PRICE_PATTERN.fullmatch(word):
            rule = "is no price: write per_second, 1920x1080, 1080p, 4k, silent, or 1080p silent"
            found[word] = conversion.wrong(at, where, rule)
            continue
        found[word] = conversion.value(item, Dollars, where, at)
    if BAD in found.values():
        return BAD
    return found or conversion.wrong(line, path, "has no price; leave the key out to use the plugin's table")


def breaker(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """`{failures: 5, error_rate: 0.5, pause: 30}` in parts, or None for no breaker."""
    if isinstance(node, Scalar) and node.sound and node.value is None:
        return None
    if isinstance(node, Table):
        return conversion.struct(node, Breaker, path, line)
    return conversion.wrong(
        line,
        path,
        f"must look like {{failures: 5, error_rate: 0.5, pause: 30}}, or be null for none, not {shown(node)}",
    )


def hosts(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """Names or addresses as they stand in a URL, with an optional port."""
    values = conversion.value(node, tuple[str, ...], path, line)
    if values is BAD or not isinstance(node, Listing):
        return values
    bad = [i for i, item in enumerate(node.items) if not _is_host(item, values[i])]
    for i in bad:
        rule = "must be a name or an address with an optional port (1 to 65535), such as cdn.internal:8443"
        conversion.wrong(node.items[i].line, f"{path}[{i}]", f"{rule}, not {shown(node.items[i])}")
    return BAD if bad else values


def _is_host(item: Node, text: str) -> bool:
    if isinstance(item, Scalar) and type(item.value) in (int, float):
        # It would be taken as a name, which nobody means by 8443 or 10.5.
        return False
    match = _HOST.fullmatch(text)
    return match is not None and int(match[1] or 1) <= _LARGEST_PORT


def networks(conversion: Conversion, node: Node, path: str, line: int) -> Any:
    """Networks such as 10.0.0.0/8, or single addresses."""
    values = conversion.value(node, tuple[str, ...], path, line)
    if values is BAD or not isinstance(node, Listing):
        return values
    bad = [i for i, text in enumerate(values) if not is_network(text)]
    for i in bad:
        rule = "must be an IP address or a network such as 10.0.0.0/8"
        conversion.wrong(node.items[i].line, f"{path}[{i}]", f"{rule}, not {shown(node.items[i])}")
    return BAD if bad else values


def is_network(text: str) -> bool:
    """Whether `text` is an IP address or a network."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_address(text: str) -> bool:
    """Whether `text` is an http(s) address with a host."""
    try:
        url = urlsplit(text)
        sound = url.port != 0
    except ValueError:
        return False
    return sound and url.scheme in ("http", "https") and bool(url.hostname) and not re.search(r"[\s\x00-\x1f]", text)
