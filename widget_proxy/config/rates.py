"""How often visitors may do what costs something upstream. The reasons for the numbers: docs/operations.md."""

from pydantic import Field

from widget_proxy.config.values import RequestBudget, Section
from widget_proxy.pacing import Budget

_WINDOW = 300.0
"""Seconds; as long as upstream's own windows."""


class RatesSettings(Section):
    """What one session, one client address and one site may ask for; half of each at once, and in no window more than
    it says, all workers together."""

    starts_per_address: RequestBudget = Field(
        Budget(60, _WINDOW), description="Sessions started from one client address, or one /64 of IPv6."
    )
    starts_per_site: RequestBudget = Field(
        Budget(300, _WINDOW), description="Sessions started on one site; upstream's own limit for a channel."
    )
    messages_per_session: RequestBudget = Field(Budget(40, _WINDOW), description="Messages in one session.")
    messages_per_address: RequestBudget = Field(Budget(300, _WINDOW), description="Messages from one client address.")
    messages_per_site: RequestBudget = Field(Budget(1200, _WINDOW), description="Messages on one site.")
    uploads_per_session: RequestBudget = Field(Budget(30, _WINDOW), description="Files sent in one session.")
    uploads_per_address: RequestBudget = Field(
        Budget(100, _WINDOW), description="Files sent from one client address."
    )
    uploads_per_site: RequestBudget = Field(Budget(300, _WINDOW), description="Files sent on one site.")
    downloads_per_session: RequestBudget = Field(
        Budget(60, _WINDOW), description="Files, or parts of one, fetched in one session."
    )
    downloads_per_address: RequestBudget = Field(
        Budget(300, _WINDOW), description="Files, or parts of one, fetched from one client address."
    )
    downloads_per_site: RequestBudget = Field(
        Budget(600, _WINDOW), description="Files, or parts of one, fetched on one site."
    )
    streams_per_session: RequestBudget = Field(
        Budget(120, _WINDOW), description="Streams opened on one session, and transcripts read."
    )
    streams_per_address: RequestBudget = Field(
        Budget(3000, _WINDOW), description="Streams opened from one client address, and transcripts read."
    )
    streams_per_site: RequestBudget = Field(
        Budget(100_000, _WINDOW), description="Streams opened on one site, and transcripts read."
    )
