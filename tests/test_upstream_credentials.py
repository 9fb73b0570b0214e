"""What lets a request in upstream: one way a site, and never none."""

import json
import traceback

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from tests.test_config_settings import SITE, settings
from tests.upstream_calls import SID, STARTED, Upstream, start
from widget_proxy.upstream import (
    ApiKey,
    BadAnswer,
    Bearer,
    Credentials,
    CredentialsRefused,
    EmbedKey,
    Key,
    OAuthClient,
    session_credentials,
    start_credential,
    team_credential,
)

pytestmark = pytest.mark.anyio

ORIGIN = "https://shop.example.com"
SECRETS = ("marker-embed-key", "marker-api-key", "marker-oauth-secret", "marker-bearer")
EMBED, API = {"embed_key": SECRETS[0]}, {"api_key": SECRETS[1]}
OAUTH = {"oauth_client_id": "app", "oauth_client_secret": SECRETS[2]}
NONE = {"embed_key": None}


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (EMBED, EmbedKey),
        (NONE | API, ApiKey),
        (NONE | OAUTH, OAuthClient),
        (EMBED | API | {"starts_with": "embed_key"}, EmbedKey),
        (EMBED | API | OAUTH | {"starts_with": "api_key"}, ApiKey),
        (API | OAUTH | {"starts_with": "oauth"}, OAuthClient),
    ],
)
def test_a_site_starts_in_one_way(given: dict[str, str | None], way: type) -> None:
    assert isinstance(start_credential(settings(given).sites["shop"]), way)


@pytest.mark.parametrize(
    ("given", "key", "mend"),
    [
        (NONE, "sites.shop.embed_key", "nothing else starts a session"),
        (EMBED | API, "sites.shop.starts_with", "embed_key or by api_key"),
        (API | OAUTH, "sites.shop.starts_with", "embed_key or by api_key or by oauth"),
        (EMBED | {"starts_with": "api_key"}, "sites.shop.starts_with", "api_key is not set"),
        (EMBED | {"starts_with": "oauth"}, "sites.shop.starts_with", "oauth_client_id and"),
        ({"oauth_client_id": "app"}, "sites.shop.oauth_client_secret", "Set both"),
        (NONE | {"oauth_client_secret": SECRETS[2]}, "sites.shop.oauth_client_id", "Set both"),
        (NONE | {"api_key": ""}, "", "at least 1 item"),
        (NONE | {"api_key": "a b"}, "", "Copy it again"),
        (NONE | OAUTH | {"oauth_client_secret": "a\r\nX-Injected: 1"}, "", "Copy it again"),
    ],
)
def test_none_or_several_ways_are_a_mistake_that_names_its_place(
    given: dict[str, str | None], key: str, mend: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(given)
    assert mend in str(refused.value)
    assert {error.get("ctx", {}).get("key", "") for error in refused.value.errors()} == {key}
    for secret in SECRETS:
        assert secret not in str(refused.value)


def test_the_team_is_named_by_its_api_key_or_its_application() -> None:
    assert team_credential(settings(EMBED).sites["shop"]) is None
    both = settings(EMBED | API | OAUTH | {"starts_with": "embed_key"}).sites["shop"]
    assert isinstance(team_credential(both), ApiKey)
    assert isinstance(team_credential(settings(NONE | OAUTH).sites["shop"]), OAuthClient)


@pytest.mark.parametrize(
    ("key", "header", "value"),
    [
        (EmbedKey(SecretStr("k")), "X-Embed-Key", "k"),
        (ApiKey(SecretStr("k")), "X-api-key", "k"),
        (ApiKey(SecretStr("k"), "Authorization"), "Authorization", "Bearer k"),
        (Bearer(SecretStr("k"), 1.0), "Authorization", "Bearer k"),
    ],
)
async def test_a_start_carries_this_and_nothing_else_that_lets_in(key: Key, header: str, value: str) -> None:
    upstream = Upstream(201, STARTED)
    await start(upstream.client, key=key)
    (request,) = upstream.requests
    assert request.headers[header] == value
    letting = {"X-Embed-Key", "X-api-key", "Authorization", "X-Session-Token"} - {header}
    assert not [name for name in letting if name in request.headers]
    assert (request.headers["Origin"], request.headers["Referer"]) == (ORIGIN, f"{ORIGIN}/p")


async def test_an_oauth_start_without_a_session_token_is_no_session() -> None:
    with pytest.raises(BadAnswer, match="no session token"):
        await start(Upstream(201, STARTED | {"session_token": None}).client, key=Bearer(SecretStr("k"), 1.0))


def test_only_a_session_without_a_token_carries_the_sites_key() -> None:
    embed, api, oauth = (settings(given).sites["shop"] for given in (EMBED, NONE | API, NONE | OAUTH))
    for site in (embed, api, oauth):
        assert session_credentials(site, SID, "t", ORIGIN).headers() == {"X-Session-Token": "t"}
    assert session_credentials(embed, SID, None, ORIGIN).headers() == {"X-Embed-Key": SECRETS[0], "Origin": ORIGIN}
    assert session_credentials(api, SID, None, ORIGIN).headers() == {"X-api-key": SECRETS[1]}
    assert session_credentials(oauth, SID, None, ORIGIN).headers() == {}, "its bearer is for starts"


async def test_an_access_token_is_asked_for_by_a_form() -> None:
    upstream = Upstream(200, {"access_token": "marker-bearer", "expires_in": 60, "token_type": "Bearer"})
    token, seconds = await upstream.client.fetch_bearer(OAuthClient("a&b", SecretStr("s=1 &"), "x y"))
    assert (token.get_secret_value(), seconds) == ("marker-bearer", 60)
    (request,) = upstream.requests
    assert (request.method, request.url.path) == ("POST", "/o/token/")
    assert dict(httpx.QueryParams(request.content.decode())) == {
        "grant_type": "client_credentials",
        "client_id": "a&b",
        "client_secret": "s=1 &",
        "scope": "x y",
    }
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "invalid_client"}, CredentialsRefused),
        (400, {"error": "invalid_scope"}, CredentialsRefused),
        (404, b"<h1>Not Found</h1>", BadAnswer),
        (500, b"<h1>Oops</h1>", BadAnswer),
        (200, {"access_token": "a\r\nX: 1", "expires_in": 60}, BadAnswer),
        (200, {"access_token": "", "expires_in": 60}, BadAnswer),
        (200, {"access_token": "a", "expires_in": -1}, BadAnswer),
        (200, {"expires_in": 60}, BadAnswer),
        (200, {"access_token": ["a"]}, BadAnswer),
    ],
)
async def test_no_other_answer_is_an_access_token(status: int, body: object, kind: type[Exception]) -> None:
    with pytest.raises(kind) as error:
        await Upstream(status, body).client.fetch_bearer(OAuthClient("app", SecretStr(SECRETS[2])))
    assert "marker" not in "".join(traceback.format_exception(error.value))


def test_nothing_that_lets_in_is_ever_printed() -> None:
    given = settings(EMBED | API | OAUTH | {"starts_with": "embed_key"})
    site = given.sites["shop"]
    printed = [repr(given), str(given), given.model_dump_json(), str(given.model_dump()), repr(site)]
    bearer = Bearer(SecretStr("marker-bearer"), 1.0)
    for one in (start_credential(site), team_credential(site), bearer, OAuthClient("a", SecretStr(SECRETS[2]))):
        printed += [repr(one), str(one), f"{one}"]
    held = Credentials(SID, None, EmbedKey(SecretStr(SECRETS[0])), ORIGIN)
    printed += [repr(held), json.dumps(SITE | {"x": str(held)}).replace(SITE["embed_key"], "")]
    for secret in SECRETS:
        assert not [text for text in printed if secret in text]
