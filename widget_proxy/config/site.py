"""What can be set of a site: whose chatbot it is, who may embed it, how the widget looks, what a visitor may send."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from widget_proxy.config.file_types import CONTENT_TYPES, MOST_BYTES
from widget_proxy.config.values import (
    Extensions,
    Hosts,
    HttpsUrl,
    KeyList,
    Language,
    Origins,
    PageContextSchema,
    Secrets,
    Section,
    ShortText,
    Text,
    TextList,
    UpstreamSecret,
    UpstreamUrl,
    mistake,
)


class Look(Section):
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
        *("button_text", "button_label", "button_shape", "icon_url", "show_button", "visible", "mode"),
        *("persistent_session", "persistent_session_expire", "background_stream"),
        *("page_context", "user_id", "user_name", "visitor_token"),
    }
)
"""The widget's other attributes, by the names they would have in `Look`."""


class Texts(Section):
    """What the widget says beside its attributes."""

    launcher: ShortText | None = Field(None, description="Accessible name of the launcher.")
    placeholder: ShortText | None = Field(None, description="Hint in the empty message field.")


class Limits(Section):
    """What one visitor may send."""

    message_characters: int = Field(4000, ge=1, le=16_000, description="Longest message.")
    page_context_bytes: int = Field(8192, ge=256, le=16_384, description="Largest page context, as JSON in UTF-8.")
    page_context_depth: int = Field(5, ge=1, le=20, description="Deepest nesting of a page context.")
    page_context_items: int = Field(
        200, ge=1, le=2000, description="Most keys and items of lists in a page context, all levels together."
    )
    page_context_characters: int = Field(4000, ge=1, le=16_384, description="Longest single text in a page context.")
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


def _the_one_way(chosen: str | None, info: ValidationInfo) -> str | None:
    """What starts a session: exactly one, or a mistake. Without any, upstream would let the start in and put the
    chat on another channel."""
    given = info.data
    if not given.keys() >= {"slug", "embed_key", "api_key", "oauth_client_id", "oauth_client_secret"}:
        return chosen  # one of them is a mistake that is told already
    site = f"sites.{given['slug']}"
    halves = [given["oauth_client_id"], given["oauth_client_secret"]]
    if halves.count(None) == 1:
        missing = "oauth_client_id" if halves[0] is None else "oauth_client_secret"
        raise mistake(f"{site}.{missing}", "it is not set, and the other half of the OAuth credentials is. Set both")
    ways = [way for way in ("embed_key", "api_key") if given[way] is not None]
    ways += ["oauth"] if halves.count(None) == 0 else []
    if chosen is not None:
        if chosen not in ways:
            wanted = "oauth_client_id and oauth_client_secret" if chosen == "oauth" else chosen
            raise mistake(
                f"{site}.starts_with", f"it is {chosen!r}, and {wanted} is not set. Set that, or remove this"
            )
        return chosen
    if not ways:
        raise mistake(
            f"{site}.embed_key",
            "it is not set, and nothing else starts a session. Set "
            + ("WIDGET_PROXY_EMBED_KEY, or " if given["slug"] == "default" else "")
            + f"{site}.embed_key; or api_key, on an instance without embed keys; or oauth_client_id and "
            "oauth_client_secret",
        )
    if len(ways) > 1:
        raise mistake(
            f"{site}.starts_with",
            f"it is not set, and a session could be started by {' or by '.join(ways)}. "
            f"Name one of them, such as {ways[0]!r}; the others are kept for what only the chatbot's team may do",
        )
    return ways[0]


class Site(Section):
    """One configured embedding: a chatbot, its key, and who may embed it."""

    slug: str = Field(exclude=True)
    chatbot_id: UUID = Field(description="The chatbot's UUID, from its Embedded Widget channel.")
    embed_key: UpstreamSecret | None = Field(
        None, description="The channel's embed key. Better in the environment or in `embed_key_file`."
    )
    api_key: UpstreamSecret | None = Field(
        None,
        description="An API key of the chatbot's team: for starts on instances that know no embed keys, and for what "
        "only the team may do, such as fetching the bot's files. Better in `api_key_file`.",
    )
    api_key_header: Literal["X-api-key", "Authorization"] = Field(
        "X-api-key", description="Where the API key goes: `X-api-key`, or `Authorization`, as a bearer."
    )
    oauth_client_id: Annotated[str, Field(pattern=r"^[!-~]{1,255}$")] | None = Field(
        None, description="Id of an OAuth application with client credentials, for a channel that takes no key."
    )
    oauth_client_secret: UpstreamSecret | None = Field(
        None, description="The application's secret. Better in `oauth_client_secret_file`."
    )
    oauth_scope: Annotated[str, Field(pattern=r"^[!-~]+( [!-~]+)*$", max_length=1000)] | None = Field(
        None, description="Scopes to ask for, with spaces between them. Default: what the application has."
    )
    starts_with: Annotated[Literal["embed_key", "api_key", "oauth"] | None, AfterValidator(_the_one_way)] = Field(
        None,
        validate_default=True,
        description="What starts a session: `embed_key`, `api_key` or `oauth`. Default: the one that is set; where "
        "several are, say which.",
    )
    allowed_origins: Origins = Field(
        description="Origins of the pages that may use it: exact, or `https://*.example.com`."
    )
    upstream_url: UpstreamUrl | None = Field(None, description="Another instance than `upstream.url`, for this site.")
    title: Annotated[str, Field(min_length=1, max_length=80)] = Field("Chat", description="Heading of the panel.")
    languages: tuple[str, ...] = Field(("en",), min_length=1, description="Languages the chatbot answers in.")
    attachments: bool = Field(False, description="Whether visitors may send files to the bot.")
    visitor_secret: Secrets = Field(
        (),
        description="Your own server signs visitor tokens with it, and nobody else knows it: at least 32 characters, "
        "as `widget-proxy new-secret` makes them. To rotate, list the old ones first: all are accepted.",
    )
    visitor_token: Literal["off", "optional", "required"] | None = Field(
        None,
        description="Whether a visitor comes with a token: `off`, `optional`, or `required`, without which nobody "
        "starts a chat. Default: `optional` where there is a `visitor_secret`, else `off`.",
    )
    signed_only: KeyList = Field(
        (),
        description="Keys of the page context that count only where they are signed; in what a page says by itself "
        "they are dropped, at any depth.",
    )
    page_context_schema: PageContextSchema | None = Field(
        None, description="A JSON Schema that every page context has to follow: the path of a file, or a table."
    )
    page_url_parameters: KeyList = Field(
        ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"),
        description="What of a query stays in `page_url`; the rest of it is cut off, and any fragment.",
    )
    drop_in: bool = Field(
        False,
        description="Whether Open Chat Studio's own widget works here as well: with the proxy as its `api-base-url`, "
        "and without its key.",
    )
    end_by_visitors: bool = Field(
        False,
        description="Whether visitors may end their conversation by `POST /v1/session/end`. Needs an API key or an "
        "OAuth application.",
    )
    feedback_as_tags: bool = Field(
        False,
        description="Whether thumbs under replies become tags of the session, `feedback:up` and `feedback:down`. "
        "Needs an API key or an OAuth application.",
    )
    page_as_state: bool = Field(
        False,
        description="Whether the page goes into session state as well, under `visitor_page`, with one more request "
        "for each page a message comes from. Replaces all that is in session state. Needs an API key or an OAuth "
        "application.",
    )
    image_hosts: Hosts = Field(
        (),
        description="Hosts whose images are shown in the bot's messages, over HTTPS: exact, or `*.example.com`. "
        "Of others there is a link. A host of images learns who reads them, and when.",
    )
    look: Look = Look()
    texts: Texts = Texts()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _tokens_have_a_secret(self) -> Self:
        where = f"sites.{self.slug}"
        if not self.visitor_secret and self.takes_tokens != "off":
            raise mistake(
                f"{where}.visitor_token",
                f"it is {self.visitor_token}, and there is no secret to check tokens with. Set "
                f"{where}.visitor_secret or visitor_secret_file to what `widget-proxy new-secret` prints, "
                "or visitor_token to off",
            )
        if self.signed_only and self.takes_tokens == "off":
            raise mistake(
                f"{where}.signed_only",
                f"this site takes no visitor tokens, so nobody could ever say these. Set {where}.visitor_secret, "
                "or remove it",
            )
        if self.drop_in and self.takes_tokens == "required":
            raise mistake(
                f"{where}.drop_in",
                "Open Chat Studio's own widget brings no visitor token, and visitor_token is required here. Set "
                f"{where}.visitor_token to optional, or drop_in to false",
            )
        return self

    @model_validator(mode="after")
    def _the_teams_calls_have_a_credential(self) -> Self:
        if self.api_key is not None or self.oauth_client_id is not None:
            return self
        for name in ("end_by_visitors", "feedback_as_tags", "page_as_state"):
            if getattr(self, name):
                where = f"sites.{self.slug}"
                raise mistake(
                    f"{where}.{name}",
                    "it is on, and only the chatbot's team may do this: there is neither an API key nor an OAuth "
                    f"application. Set {where}.api_key or api_key_file (and starts_with, where there is an embed key "
                    f"as well), or oauth_client_id and oauth_client_secret; or {name} to false",
                )
        return self

    @property
    def takes_tokens(self) -> Literal["off", "optional", "required"]:
        """Whether a visitor may, or must, come with a visitor token."""
        return self.visitor_token or ("optional" if self.visitor_secret else "off")

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may use the site."""
        return any(pattern.allows(origin) for pattern in self.allowed_origins)

    def shows_images_of(self, host: str) -> bool:
        """Whether an image on this host is shown in a bot's message."""
        return any(pattern.allows(host) for pattern in self.image_hosts)
