"""What the fake upstream is to be: its channels, its limits, its pace."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

DEMO_CHATBOT_ID = "4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a10"
DEMO_EMBED_KEY = "demo-embed-key-not-a-secret"

Mode = Literal["tokens", "no_tokens", "open", "oauth", "api_key"]

DAY = 86_400.0


@dataclass(slots=True)
class Channel:
    """One Embedded Widget channel. `allowed_domains` may have `*.example.com`.

    `mode`: `tokens` gives session tokens; `no_tokens` predates them and wants key and origin on every call; `open`
    wants them at start only, as old widgets need it, which send no key with polls and uploads; `oauth` takes no key
    at start but a bearer of `POST /o/token/`; `api_key` is an older instance, which knows neither embed keys nor
    session tokens and wants the API key on every call.
    """

    chatbot_id: str = DEMO_CHATBOT_ID
    name: str = "Nordlicht assistant"
    embed_key: str = DEMO_EMBED_KEY
    allowed_domains: tuple[str, ...] = ("localhost", "127.0.0.1")
    mode: Mode = "tokens"
    seed_message: str | None = None
    enabled: bool = True
    disabled_text: str = "This chatbot is not available at the moment."
    token_seconds: float = 7 * DAY
    drops_page_context: bool = False
    """As the observed instance does: accepted at start, and not kept. The message's `context` still works."""

    def allows(self, host: str | None) -> bool:
        """Whether a page of this host may use the channel; its port and scheme do not matter."""
        return host is not None and any(
            host == domain or (domain.startswith("*.") and host.endswith(domain[1:]))
            for domain in self.allowed_domains
        )


@dataclass(slots=True)
class FakeUpstreamSettings:
    """Everything that can be chosen. Times in seconds; `clock` is wall time, `sleep` waits."""

    channels: list[Channel] = field(default_factory=lambda: [Channel()])
    api_key: str = "demo-api-key-not-a-secret"
    oauth_client_id: str = "demo-client"
    oauth_client_secret: str = "demo-client-secret-not-a-secret"
    bearer_seconds: float = 3600.0
    think_seconds: float = 1.5
    enforce_limits: bool = False
    session_limit: int = 300
    start_limit: int = 300
    host_limit: int = 2000
    window_seconds: float = 300.0
    deprecated_widget_versions: tuple[str, ...] = ()
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
