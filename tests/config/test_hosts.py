"""Hosts in `allow_hosts` and `webhook_hosts`: names and addresses, with a port that exists."""

from __future__ import annotations

import pytest

from tests.config.test_config import ONE, entry, mistakes

RULE = "must be a name or an address with an optional port (1 to 65535), such as cdn.internal:8443, not "


@pytest.mark.parametrize("host", ["a:65535", "10.0.0.7", "1:2:3:4:5:6:7:8", "7.example", "off", "'5'"])
def test_names_and_addresses_are_hosts(host: str) -> None:
    """What only looks like a number, or is quoted, is a host; so is every port up to 65535."""
    assert entry(f"  allow_hosts: [{host}]\n").allow_hosts == (host.strip("'"),)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("5", "the number 5"),
        ("10.5", "the number 10.5"),
        ("'a:0'", "the text 'a:0'"),
        ("'a:65536'", "the text 'a:65536'"),
        ("'[::1]:99999'", "the text '[::1]:99999'"),
    ],
)
def test_numbers_and_ports_that_are_none_are_told(host: str, shown: str) -> None:
    """A host that could never be meant is a mistake of the file, under both keys."""
    assert mistakes(ONE + f"  allow_hosts: [x, {host}]\n") == [
        f"4: channels[0].allow_hosts[1] (channel a): {RULE}{shown}"
    ]
    assert mistakes(ONE + f"server: {{webhook_hosts: [{host}]}}\n") == [f"4: server.webhook_hosts[0]: {RULE}{shown}"]
