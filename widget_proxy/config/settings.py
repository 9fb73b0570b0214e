"""What can be set, with its default and its meaning. docs/configuration.md is made from these fields."""

import re
from ipaddress import ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, SecretStr, field_validator, model_validator

from widget_proxy.config.origins import OriginPattern, is_loopback
from widget_proxy.config.rates import RatesSettings
from widget_proxy.config.site import Site
from widget_proxy.config.values import Networks, PublicUrl, RequestBudget, Secrets, Section, UpstreamUrl, mistake
from widget_proxy.pacing import Budget

SITE_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")

MESSAGE_POLL_SECONDS = 30.0
"""Upstream's documented minimum between two message polls of one session."""


class ServerSettings(Section):
    """Where the proxy itself listens and how it behaves towards browsers."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    public_url: PublicUrl | None = Field(
        None,
        description="The proxy's address as browsers see it, such as `https://chat.example.com`, for its own pages. "
        "Default: the request's; but the full-page chat, where that is a name, needs it.",
    )
    heartbeat_seconds: float = Field(
        15.0,
        gt=0,
        le=30,
        description="A comment goes down each stream this often, so that nothing in between closes it.",
    )
    body_bytes: int = Field(65_536, ge=16_384, le=1_048_576, description="Largest JSON body accepted.")
    drain_seconds: float = Field(
        8.0, gt=0, le=60, description="How long running requests may take to end after SIGTERM."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["console", "json"] = Field(
        "console", description="`console`, for people, or `json`, an object a line, for programs."
    )
    watch_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="How often it is looked whether a file of the configuration has changed: sites and secrets are "
        "then read anew. 0: on SIGHUP alone.",
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that serve. More than one need Redis.")
    streams: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Streams open at once, a process. Bounded as well by four fifths of its file descriptors.",
    )
    streams_per_session: int = Field(
        20, ge=1, le=10_000, description="Streams open at once on one session, a process."
    )
    streams_per_address: int = Field(
        500,
        ge=1,
        le=1_000_000,
        description="Streams open at once from one client address, or one /64 of IPv6, a process.",
    )
    connections_per_address: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Connections open at once from one client address, a process. Those of `trusted_proxies` are not "
        "counted.",
    )
    trusted_proxies: Networks = Field(
        (ip_network("127.0.0.1"), ip_network("::1")),
        description="Addresses and networks of the proxies in front, such as `10.0.0.0/24`. Only of them are "
        "`X-Forwarded-For` and `X-Forwarded-Proto` believed.",
    )
    head_seconds: float = Field(
        10.0, gt=0, le=120, description="Whole time the head of a request may take to arrive, in seconds."
    )
    head_bytes: int = Field(
        32_768, ge=4096, le=1_048_576, description="Largest head of a request, its address and header lines."
    )
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None,
        description="Who sends it, as `Authorization: Bearer …`, may read `/metrics`, and the figures of `/status`. "
        "Without it there are neither.",
    )
    uploads: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Files on their way at once, a process. Never more than half of `upstream.connections`.",
    )
    upload_seconds: float = Field(
        120.0, gt=0, le=3600, description="Whole time a visitor's file may take to arrive, in seconds."
    )
    downloads: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Files being fetched at once, a process. Never more than a quarter of `upstream.connections`.",
    )
    download_seconds: float = Field(
        600.0, gt=0, le=86_400, description="Whole time a file may take to be fetched, in seconds."
    )


class UpstreamSettings(Section):
    """How Open Chat Studio is reached."""

    url: UpstreamUrl | None = Field(
        None, description="Address of the Open Chat Studio instance, such as `https://openchatstudio.com`."
    )
    connect_seconds: float = Field(3.0, gt=0, le=60, description="Time allowed to open a connection.")
    read_seconds: float = Field(10.0, gt=0, le=120, description="Longest silence accepted within an answer.")
    send_seconds: float = Field(15.0, gt=0, le=120, description="Whole time allowed for a start or a send.")
    poll_seconds: float = Field(8.0, gt=0, le=120, description="Whole time allowed for a poll.")
    connections: int = Field(100, ge=1, le=10_000, description="Connections kept open at most.")
    answer_bytes: int = Field(4_194_304, ge=65_536, description="Largest answer read; a longer one is refused.")


class PacingSettings(Section):
    """When upstream is asked."""

    message_poll_seconds: float = Field(
        MESSAGE_POLL_SECONDS,
        gt=0,
        description="Least time between two message polls of a session. Below 30 only for a local upstream.",
    )
    budget: RequestBudget = Field(
        Budget(2000, 300.0),
        description="Requests one upstream host takes from this address, all workers together, such as `2000/5m`.",
    )
    answer_poll_shortest: float = Field(
        0.2,
        gt=0,
        le=60,
        description="Wait between two polls for an awaited answer, in seconds, where answers usually come and the "
        "budget has room.",
    )
    answer_poll_longest: float = Field(
        10.0, gt=0, le=60, description="Longest wait between two polls for an awaited answer, in seconds."
    )
    answer_poll_drop_in: float = Field(
        1.0,
        gt=0,
        le=60,
        description="The same as `answer_poll_shortest`, for conversations in the official widget, which looks once "
        "a second.",
    )
    answer_deadline_seconds: float = Field(
        300.0, gt=0, le=3600, description="After this an answer counts as not coming. A late one still appears."
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.answer_poll_shortest > self.answer_poll_longest:
            raise ValueError("answer_poll_shortest is longer than answer_poll_longest. Swap them")
        return self


class RedisSettings(Section):
    """What several workers share. Without it there is one process, and its memory."""

    url: SecretStr | None = Field(
        None,
        description="Such as `redis://127.0.0.1:6379/0`. Transcripts pass through it: keep it private. With a "
        "password better in `url_file`.",
    )
    prefix: str = Field(
        "widget-proxy", pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="Begins every key, where Redis is shared."
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            parts = None if url is None else urlsplit(url.get_secret_value())
            known = parts is None or (parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0)
        except ValueError:  # whose text has parts of the password in it, as redis-py's would
            known = False
        if not known:
            raise ValueError(
                "it is no address of a Redis server. Begin it with redis://, rediss:// or unix://, and write special "
                "characters of a password as in any URL: / is %2F, # is %23, ? is %3F"
            )
        return url


class PagesSettings(Section):
    """The proxy's own pages for people."""

    front: bool = Field(True, description="Whether `/` shows the sites and builds their tags. It needs no password.")
    chat: bool = Field(
        True,
        description="Whether `/sites/<name>/chat` is a page with nothing but the chat, for a link or a QR code, "
        "on the proxy's own origin.",
    )


class Settings(Section):
    """Everything the proxy was told."""

    secret_key: Annotated[Secrets, Field(min_length=1)] = Field(
        description="Signs and seals what browsers hold. Make one with `widget-proxy new-secret`. "
        "To rotate, list the old ones first: the last one signs, all are accepted."
    )
    server: ServerSettings = ServerSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    pacing: PacingSettings = PacingSettings()
    rates: RatesSettings = RatesSettings()
    redis: RedisSettings = RedisSettings()
    pages: PagesSettings = PagesSettings()
    sites: dict[str, Site] = Field(min_length=1)

    @model_validator(mode="after")
    def _workers_share_a_broker(self) -> Self:
        if self.server.workers > 1 and self.redis.url is None:
            raise mistake(
                "server.workers",
                f"it is {self.server.workers}, and several workers have to share what they know. "
                "Set WIDGET_PROXY_REDIS_URL or redis.url to a Redis server, or serve with one worker",
            )
        return self

    @model_validator(mode="after")
    def _drop_in_sites_can_be_told_apart(self) -> Self:
        seen: dict[tuple[UUID, OriginPattern], str] = {}
        for site in self.sites.values():
            for origin in site.allowed_origins if site.drop_in else ():
                other = seen.setdefault((site.chatbot_id, origin), site.slug)
                if other != site.slug:
                    raise mistake(
                        f"sites.{site.slug}.drop_in",
                        f"it is on for site {other!r} as well, which has the same chatbot_id and allows "
                        f"{origin.text} too, and the official widget names nothing else. Turn it off for one of them",
                    )
        return self

    @model_validator(mode="after")
    def _each_site_has_an_upstream(self) -> Self:
        for site in self.sites.values():
            if site.upstream_url is None and self.upstream.url is None:
                raise mistake(
                    "upstream.url",
                    f"it is not set and site {site.slug!r} has no upstream_url. "
                    "Set WIDGET_PROXY_UPSTREAM_URL or upstream.url to your Open Chat Studio address",
                )
            if self.pacing.message_poll_seconds < MESSAGE_POLL_SECONDS and not is_loopback(
                urlsplit(self.upstream_of(site)).hostname
            ):
                raise mistake(
                    "pacing.message_poll_seconds",
                    f"it is {self.pacing.message_poll_seconds:g}, and upstream allows one message poll per 30 s. "
                    "Set it to 30 or more",
                )
        return self

    def upstream_of(self, site: Site) -> str:
        """Address of the upstream that serves `site`, without a trailing slash."""
        url = site.upstream_url or self.upstream.url
        if url is None:  # refused by validation above
            raise ValueError(f"site {site.slug!r} has no upstream")
        return url
