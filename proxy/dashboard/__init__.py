"""The web pages: server-rendered, behind a login of their own, over the same engine as the API.

How to add a page: see `proxy.dashboard.pages`.
"""

from proxy.dashboard.mounting import mount
from proxy.dashboard.surroundings import Surroundings

__all__ = ["Surroundings", "mount"]
