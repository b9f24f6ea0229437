"""Networks in `server.trusted_proxies`."""

from __future__ import annotations

import pytest

from tests.config.test_config import SMALLEST, mistakes, parse

RULE = "must be an IP address or a network such as 10.0.0.0/8, not "


def test_addresses_and_networks() -> None:
    """IPv4 and IPv6, single or many; nobody is trusted unless it is said."""
    said = "[10.0.0.0/8, 127.0.0.1, '::1', 'fd00::/8', 10.1.2.3/16]"
    found = parse(f"server: {{trusted_proxies: {said}}}\n{SMALLEST}").server.trusted_proxies
    assert found == ("10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8", "10.1.2.3/16")
    assert parse(SMALLEST).server.trusted_proxies == ()


@pytest.mark.parametrize("network", ["proxy.internal", "10.0.0.0/33", "10", "10.0", "true", "'*'", "''", "1.2.3.4:80"])
def test_what_is_no_network(network: str) -> None:
    """Names, numbers, ports and words are refused by their place, with what to write."""
    (said,) = mistakes(f"{SMALLEST}\nserver: {{trusted_proxies: [10.0.0.1, {network}]}}\n")
    assert f"server.trusted_proxies[1]: {RULE}" in said
