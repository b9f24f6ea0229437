"""Webhooks in OpenAI's form: tenants name endpoints, and hear there how their videos ended."""

from __future__ import annotations

from proxy.webhooks.deliveries import Deliveries, Outcome
from proxy.webhooks.endpoints import Endpoints
from proxy.webhooks.events import EVENT_TYPES
from proxy.webhooks.sending import Sender

__all__ = ["EVENT_TYPES", "Deliveries", "Endpoints", "Outcome", "Sender"]
