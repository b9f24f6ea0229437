"""The same server processes as tests/process has."""

from tests.process.conftest import spawn  # noqa: F401
