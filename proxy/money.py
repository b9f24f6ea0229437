"""Money: US dollars, as whole billionths of one, so that sums are exact wherever they are made."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

NANO: Final = 1_000_000_000
"""Units of an amount in one dollar."""
LARGEST: Final = 2**62
"""No amount is larger: sums of a few still fit into a column of the store."""

_UNIT: Final = Decimal(1)


def amount(dollars: Decimal | float | str) -> int:
    """The amount nearest to `dollars`; a float counts as the shortest decimal that it is the nearest one of."""
    exact = dollars if isinstance(dollars, Decimal) else Decimal(str(dollars))
    whole = int((exact * NANO).quantize(_UNIT, rounding=ROUND_HALF_EVEN))
    if abs(whole) > LARGEST:
        raise ValueError(f"{dollars} is no price")
    return whole


def price(per_second: float, seconds: int) -> int:
    """What `seconds` cost at a price in dollars per second."""
    return amount(Decimal(str(per_second)) * seconds)


def share(whole: int, part: float, of: float) -> int:
    """What of the amount `whole`, which was for `of` seconds, is due for `part` of them: never more than all."""
    if part >= of:
        return whole
    due = Decimal(whole) * Decimal(str(max(part, 0))) / Decimal(str(of))
    return int(due.quantize(_UNIT, rounding=ROUND_HALF_EVEN))


def dollars(amount: int) -> Decimal:
    """An amount in dollars, exactly."""
    return Decimal(amount) / NANO


def shown(amount: int) -> str:
    """An amount for people: `0.40`, `12.345`."""
    text = f"{dollars(amount):f}"
    whole, _, places = text.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}"
