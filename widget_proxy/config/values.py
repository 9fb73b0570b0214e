"""What settings are made of: the kinds of their values, and sections."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr
from pydantic_core import PydanticCustomError

from widget_proxy.config.context_schema import ContextSchema
from widget_proxy.config.hosts import HostPattern
from widget_proxy.config.origins import OriginPattern, check_https_url, check_origin, check_upstream_url
from widget_proxy.pacing import Budget


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


def _networks(value: object) -> object:
    value = _split_commas(value)
    if isinstance(value, list | tuple):
        return tuple(_network(one) for one in value)
    return value


def _network(text: object) -> IPv4Network | IPv6Network:
    if isinstance(text, IPv4Network | IPv6Network):
        return text
    if not isinstance(text, str):
        raise ValueError("it is no text. Write it as 10.0.0.7 or 10.0.0.0/24")  # noqa: TRY004 # as `_budget`
    try:
        network = ip_network(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address or a network of addresses. Write it as 10.0.0.7 or 10.0.0.0/24"
        ) from None
    if network.prefixlen == 0:
        raise ValueError(
            f"{text!r} is everybody: any visitor could claim any address. Name the proxies in front, and only them"
        )
    return network


def _schema(value: object) -> object:
    return value if isinstance(value, ContextSchema) else ContextSchema.parse(value)


def one_or_many(value: object) -> object:
    """A list, also from one environment variable."""
    return _split_commas(value) if isinstance(value, str) else value


def header_value(key: SecretStr) -> SecretStr:
    """A secret that goes into a header; refused with what no header may hold."""
    if re.fullmatch(r"[\x21-\x7e]*", key.get_secret_value()) is None:
        raise ValueError("it holds a space, a line break or another character no key has. Copy it again, and only it")
    return key


def mistake(key: str, text: str) -> PydanticCustomError:
    """A mistake that lies in more than one setting; `key` is the one to mend."""
    return PydanticCustomError("setting", "{text}", {"key": key, "text": text})


Origins = Annotated[tuple[OriginPattern, ...], BeforeValidator(_origin_patterns), Field(min_length=1)]
Hosts = Annotated[tuple[HostPattern, ...], BeforeValidator(_host_patterns)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
PageContextSchema = Annotated[
    ContextSchema, BeforeValidator(_schema), PlainSerializer(lambda schema: dict(schema.schema))
]
Secrets = Annotated[tuple[Annotated[SecretStr, Field(min_length=32)], ...], BeforeValidator(one_or_many)]
RequestBudget = Annotated[Budget, BeforeValidator(_budget)]
UpstreamUrl = Annotated[
    str, BeforeValidator(lambda value: check_upstream_url(value) if isinstance(value, str) else value)
]
UpstreamSecret = Annotated[SecretStr, Field(min_length=1), AfterValidator(header_value)]
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
KeyList = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], BeforeValidator(one_or_many)]
TextList = Annotated[tuple[ShortText, ...], Field(max_length=10)]


class Section(BaseModel):
    """Settings that belong together. An unknown key is a mistake, and no mistake repeats the value."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a secret
    )
