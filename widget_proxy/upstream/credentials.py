"""What lets a request in upstream: keys and bearers of a site, and what a session's own calls carry.

Each way of a start is a type of its own, and a start takes one of them: one without any would be let in and land on
another channel.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from widget_proxy.config import Site


@dataclass(frozen=True, slots=True)
class EmbedKey:
    """The key of an Embedded Widget channel. It is checked together with the origin."""

    key: SecretStr

    def headers(self, origin: str) -> dict[str, str]:
        """What a request with it carries, as a page of `origin`."""
        return {"X-Embed-Key": self.key.get_secret_value(), "Origin": origin}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A team's API key. Instances differ in the header they take it in."""

    key: SecretStr
    header: Literal["X-api-key", "Authorization"] = "X-api-key"

    def headers(self, origin: str) -> dict[str, str]:
        """What a request with it carries."""
        key = self.key.get_secret_value()
        return {"Authorization": f"Bearer {key}"} if self.header == "Authorization" else {self.header: key}


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """An OAuth application that is given bearers for its own sake (client credentials)."""

    client_id: str
    client_secret: SecretStr
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Bearer:
    """An access token. `renew_at` and `expires` are wall time, in seconds."""

    token: SecretStr
    expires: float
    renew_at: float = 0.0

    def headers(self, origin: str) -> dict[str, str]:
        """What a request with it carries."""
        return {"Authorization": f"Bearer {self.token.get_secret_value()}"}


Key = EmbedKey | ApiKey | Bearer
"""What a request carries to be let in."""


def start_credential(site: Site) -> EmbedKey | ApiKey | OAuthClient:
    """The one way in which sessions of this site are started."""
    match site.starts_with:
        case "embed_key" if site.embed_key is not None:
            return EmbedKey(site.embed_key)
        case "api_key" if (key := api_key(site)) is not None:
            return key
        case "oauth" if (client := oauth_client(site)) is not None:
            return client
    raise ValueError(f"site {site.slug!r} has nothing to start sessions with")  # refused when settings are read


def team_credential(site: Site) -> ApiKey | OAuthClient | None:
    """What lets the proxy in as the chatbot's team, for what no visitor's session token is good for: the API key,
    else the OAuth application; None where the site has neither."""
    return api_key(site) or oauth_client(site)


def api_key(site: Site) -> ApiKey | None:
    """The site's API key, where it has one."""
    return None if site.api_key is None else ApiKey(site.api_key, site.api_key_header)


def oauth_client(site: Site) -> OAuthClient | None:
    """The site's OAuth application, where it has one."""
    if site.oauth_client_id is None or site.oauth_client_secret is None:
        return None
    return OAuthClient(site.oauth_client_id, site.oauth_client_secret, site.oauth_scope or "")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call on a session carries. With a token it is all that is needed, and key and origin stay home: sent
    along they would bring the origin check back. Without one (older channels) the site's own `key` goes instead."""

    session_id: str
    token: str | None
    key: EmbedKey | ApiKey | None
    origin: str

    def headers(self) -> dict[str, str]:
        """The headers of such a call."""
        if self.token is not None:
            return {"X-Session-Token": self.token}
        return {} if self.key is None else self.key.headers(self.origin)

    def __repr__(self) -> str:
        return "Credentials(***)"


def session_credentials(site: Site, session_id: str, token: str | None, origin: str) -> Credentials:
    """What a call on this session of the site carries."""
    way = None if token is not None else start_credential(site)
    return Credentials(session_id, token, None if isinstance(way, OAuthClient) else way, origin)
