"""What can be set, with its default and its meaning. The table in the README is made from these fields."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from widget_proxy.config.file_types import CONTENT_TYPES, MOST_BYTES
from widget_proxy.config.hosts import HostPattern
from widget_proxy.config.origins import (
    OriginPattern,
    check_https_url,
    check_origin,
    check_upstream_url,
    is_loopback,
)
from widget_proxy.pacing import Budget

SITE_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")

MESSAGE_POLL_SECONDS = 30.0
"""Upstream's documented minimum between two message polls of one session."""


def _split_commas(value: object) -> object:
    """A list that came from one environment variable: `a, b` is two values."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _origin_patterns(value: object) -> object:
    value = _split_commas(value)
    if isinstance(value, list | tuple):
        return tuple(OriginPattern.parse(one) if isinstance(one, str) else one for one in value)
    return value


def _host_patterns(value: object) -> object:
    value = _split_commas(value)
    if isinstance(value, list | tuple):
        return tuple(HostPattern.parse(one) if isinstance(one, str) else one for one in value)
    return value


def _extensions(value: object) -> object:
    """`PDF, .txt` is `.pdf` and `.txt`."""
    value = _split_commas(value)
    if isinstance(value, list | tuple):
        return tuple("." + one.strip().lower().removeprefix(".") if isinstance(one, str) else one for one in value)
    return value


def _budget(value: object) -> object:
    if isinstance(value, Budget):
        return value
    if not isinstance(value, str):
        raise ValueError("it is no text. Write it as 2000/5m")  # noqa: TRY004 # pydantic wants this one
    return Budget.parse(value)


def _one_or_many(value: object) -> object:
    return _split_commas(value) if isinstance(value, str) else value


def _header_value(key: SecretStr) -> SecretStr:
    if re.fullmatch(r"[\x21-\x7e]*", key.get_secret_value()) is None:
        raise ValueError(
            "the embed key holds a space, a line break or another character no key has. Copy it again, and only it"
        )
    return key


def _mistake(key: str, text: str) -> PydanticCustomError:
    """A mistake that lies in more than one setting; `key` is the one to mend."""
    return PydanticCustomError("setting", "{text}", {"key": key, "text": text})


Origins = Annotated[tuple[OriginPattern, ...], BeforeValidator(_origin_patterns), Field(min_length=1)]
Hosts = Annotated[tuple[HostPattern, ...], BeforeValidator(_host_patterns)]
RequestBudget = Annotated[Budget, BeforeValidator(_budget)]
UpstreamUrl = Annotated[
    str, BeforeValidator(lambda value: check_upstream_url(value) if isinstance(value, str) else value)
]
Extensions = Annotated[
    tuple[Annotated[str, Field(pattern=r"^\.[a-z0-9]{1,16}$")], ...],
    BeforeValidator(_extensions),
    Field(min_length=1),
]
PublicUrl = Annotated[str, BeforeValidator(lambda value: check_origin(value) if isinstance(value, str) else value)]
ShortText = Annotated[str, Field(max_length=300)]
Text = Annotated[str, Field(min_length=1, max_length=300)]
HttpsUrl = Annotated[str, BeforeValidator(lambda value: check_https_url(value) if isinstance(value, str) else value)]
Language = Literal[
    "auto", "en", "ar", "de", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sw", "tr", "uk", "zh"
]
TextList = Annotated[tuple[ShortText, ...], Field(max_length=10)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a secret
    )


class ServerSettings(_Section):
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
    uploads: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Files on their way at once, a process. Never more than half of `upstream.connections`.",
    )
    upload_seconds: float = Field(
        120.0, gt=0, le=3600, description="Whole time a visitor's file may take to arrive, in seconds."
    )


class UpstreamSettings(_Section):
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


class PacingSettings(_Section):
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
    answer_deadline_seconds: float = Field(
        300.0, gt=0, le=3600, description="After this an answer counts as not coming. A late one still appears."
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.answer_poll_shortest > self.answer_poll_longest:
            raise ValueError("answer_poll_shortest is longer than answer_poll_longest. Swap them")
        return self


class RedisSettings(_Section):
    """What several workers share. Without it there is one process, and its memory."""

    url: SecretStr | None = Field(
        None, description="Such as `redis://127.0.0.1:6379/0`. Transcripts pass through it: keep it private."
    )
    prefix: str = Field(
        "widget-proxy", pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="Begins every key, where Redis is shared."
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and urlsplit(url.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("it does not begin with redis://, rediss:// or unix://")
        return url


class PagesSettings(_Section):
    """The proxy's own pages for people."""

    front: bool = Field(True, description="Whether `/` shows the sites and builds their tags. It needs no password.")
    chat: bool = Field(
        True,
        description="Whether `/sites/<name>/chat` is a page with nothing but the chat, for a link or a QR code, "
        "on the proxy's own origin.",
    )


class Look(_Section):
    """What the widget's attributes are where the page says nothing: their names, with `_` for `-`.

    All but `position` are read when the panel opens; before, nothing is asked of the proxy. So whatever an attribute
    does earlier than that, and what only a page can know, is no field here but in `TAG_ONLY`.
    """

    accent: str = Field("#2457d6", pattern=r"^#[0-9a-fA-F]{6}$", description="Brand colour, as `#rrggbb`.")
    position: Literal["left", "center", "right"] = Field(
        "right",
        description="`left`, `center` or `right`: corner of the launcher, in the tag that the front page builds.",
    )
    theme: Literal["auto", "light", "dark"] = Field(
        "auto", description="`light`, `dark`, or as the visitor's system."
    )
    language: Language | None = Field(
        None, description="Of the widget's own texts, such as `de`, or `auto`, as the page's. Default: English."
    )
    translations_url: HttpsUrl | None = Field(
        None, description="A JSON file with texts of your own, over HTTPS; it has to be readable from any origin."
    )
    header_text: Annotated[Text, Field(max_length=80)] | None = Field(
        None, description="Heading of the panel, where it is not to be the title."
    )
    welcome_messages: TextList = Field((), description="Shown at the top of a new chat; never sent.")
    starter_questions: TextList = Field((), description="Buttons in a new chat; a press sends the text.")
    typing_indicator_text: Text | None = Field(None, description="Beside the dots while an answer is in the making.")
    new_chat_confirmation_message: Text | None = Field(None, description="Asked before a new chat.")
    banner_message: Text | None = Field(None, description="A notice that stays.")
    banner_style: Literal["default", "info", "warning", "error"] = Field(
        "default", description="`default`, `info`, `warning` or `error`."
    )
    banner_position: Literal["top", "bottom"] = Field(
        "top", description="`top`, or `bottom`, above the message field."
    )
    consent_text: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description="To be agreed to before the first message, once a browser."
    )
    disabled: bool = Field(False, description="Read-only: what was said stays readable, nothing can be sent.")
    allow_full_screen: bool = Field(True, description="A button for the whole window.")
    allow_attachments: bool = Field(True, description="A button for files, where `attachments` is on.")
    feedback: bool = Field(False, description="Thumbs under replies, told to the page by an event.")
    sound: bool = Field(False, description="A short tone for a reply while the chat is closed or its tab hidden.")


TAG_ONLY = frozenset(
    {
        *("button_text", "button_shape", "icon_url", "show_button", "visible", "mode"),
        *("persistent_session", "persistent_session_expire", "background_stream"),
        *("page_context", "user_id", "user_name"),
    }
)
"""The widget's other attributes, by the names they would have in `Look`."""


class Texts(_Section):
    """What the widget says beside its attributes."""

    launcher: ShortText | None = Field(None, description="Accessible name of the launcher.")
    placeholder: ShortText | None = Field(None, description="Hint in the empty message field.")


class Limits(_Section):
    """What one visitor may send."""

    message_characters: int = Field(4000, ge=1, le=16_000, description="Longest message.")
    page_context_bytes: int = Field(8192, ge=256, le=16_384, description="Largest page context, as JSON in UTF-8.")
    page_context_depth: int = Field(5, ge=1, le=20, description="Deepest nesting of a page context.")
    files: int = Field(5, ge=1, le=20, description="Most files with one message, where `attachments` is on.")
    file_bytes: int = Field(
        MOST_BYTES, ge=1, le=MOST_BYTES, description="Largest file. Open Chat Studio takes no larger one than 50 MiB."
    )
    message_file_bytes: int = Field(
        MOST_BYTES, ge=1, le=20 * MOST_BYTES, description="Most bytes that all files of one message have together."
    )
    file_extensions: Extensions = Field(
        tuple(CONTENT_TYPES), description="Endings of the files it takes. Open Chat Studio has a list of its own."
    )


class Site(_Section):
    """One configured embedding: a chatbot, its key, and who may embed it."""

    slug: str = Field(exclude=True)
    chatbot_id: UUID = Field(description="The chatbot's UUID, from its Embedded Widget channel.")
    embed_key: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        min_length=1, description="The channel's embed key. Better in the environment or in `embed_key_file`."
    )
    allowed_origins: Origins = Field(
        description="Origins of the pages that may use it: exact, or `https://*.example.com`."
    )
    upstream_url: UpstreamUrl | None = Field(None, description="Another instance than `upstream.url`, for this site.")
    title: Annotated[str, Field(min_length=1, max_length=80)] = Field("Chat", description="Heading of the panel.")
    languages: tuple[str, ...] = Field(("en",), min_length=1, description="Languages the chatbot answers in.")
    attachments: bool = Field(False, description="Whether visitors may send files to the bot.")
    image_hosts: Hosts = Field(
        (),
        description="Hosts whose images are shown in the bot's messages, over HTTPS: exact, or `*.example.com`. "
        "Of others there is a link. A host of images learns who reads them, and when.",
    )
    look: Look = Look()
    texts: Texts = Texts()
    limits: Limits = Limits()

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may use the site."""
        return any(pattern.allows(origin) for pattern in self.allowed_origins)

    def shows_images_of(self, host: str) -> bool:
        """Whether an image on this host is shown in a bot's message."""
        return any(pattern.allows(host) for pattern in self.image_hosts)


class Settings(_Section):
    """Everything the proxy was told."""

    secret_key: Annotated[
        tuple[Annotated[SecretStr, Field(min_length=32)], ...], BeforeValidator(_one_or_many), Field(min_length=1)
    ] = Field(
        description="Signs and seals what browsers hold. Make one with `widget-proxy new-secret`. "
        "To rotate, list the old ones first: the last one signs, all are accepted."
    )
    server: ServerSettings = ServerSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    pacing: PacingSettings = PacingSettings()
    redis: RedisSettings = RedisSettings()
    pages: PagesSettings = PagesSettings()
    sites: dict[str, Site] = Field(min_length=1)

    @model_validator(mode="after")
    def _workers_share_a_broker(self) -> Self:
        if self.server.workers > 1 and self.redis.url is None:
            raise _mistake(
                "server.workers",
                f"it is {self.server.workers}, and several workers have to share what they know. "
                "Set WIDGET_PROXY_REDIS_URL or redis.url to a Redis server, or serve with one worker",
            )
        return self

    @model_validator(mode="after")
    def _each_site_has_an_upstream(self) -> Self:
        for site in self.sites.values():
            if site.upstream_url is None and self.upstream.url is None:
                raise _mistake(
                    "upstream.url",
                    f"it is not set and site {site.slug!r} has no upstream_url. "
                    "Set WIDGET_PROXY_UPSTREAM_URL or upstream.url to your Open Chat Studio address",
                )
            if self.pacing.message_poll_seconds < MESSAGE_POLL_SECONDS and not is_loopback(
                urlsplit(self.upstream_of(site)).hostname
            ):
                raise _mistake(
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
