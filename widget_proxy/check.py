"""Does each site really work? Asked of upstream itself, with one session started for each."""

from dataclasses import dataclass

from widget_proxy.config import Settings, Site
from widget_proxy.upstream import (
    BadAnswer,
    Bearer,
    ChatbotUnavailable,
    CredentialsRefused,
    OAuthClient,
    RequestRefused,
    UpstreamBusy,
    UpstreamClient,
    UpstreamError,
    UpstreamUnreachable,
    start_credential,
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found for one site, and what to change where it does not work."""

    site: str
    works: bool
    finding: str
    mend: str | None = None


async def check_sites(settings: Settings, origin: str | None = None) -> list[CheckResult]:
    """Check every site, as a page of `origin` (default: the first that the site allows)."""
    results = []
    for site in settings.sites.values():
        url = settings.upstream_of(site)
        async with UpstreamClient(url, settings.upstream) as client:
            asked = origin or site.allowed_origins[0].example()
            if site.allows(asked) or (settings.pages.chat and asked == settings.server.public_url):
                results.append(await _check(client, site, asked, url))
            else:
                results.append(_not_allowed(site, asked))
    return results


async def _check(client: UpstreamClient, site: Site, origin: str, url: str) -> CheckResult:
    try:
        way = start_credential(site)
        key = Bearer(*await client.fetch_bearer(way)) if isinstance(way, OAuthClient) else way
        started = await client.start(chatbot_id=str(site.chatbot_id), key=key, origin=origin, page_url=origin)
    except UpstreamError as error:
        return CheckResult(site.slug, False, *_explain(error, site, origin, url))
    token = "" if started.token else " (an older channel, without session tokens)"
    return CheckResult(site.slug, True, f"started a session with {started.chatbot_name!r} from {origin}{token}")


def _not_allowed(site: Site, origin: str) -> CheckResult:
    return CheckResult(
        site.slug,
        False,
        f"{origin} is not an allowed origin of this site",
        f"Add it to sites.{site.slug}.allowed_origins, or check with another --origin",
    )


def _explain(error: UpstreamError, site: Site, origin: str, url: str) -> tuple[str, str]:
    match error:
        case UpstreamUnreachable():
            return f"{url} cannot be reached: {error}", "Check the address, the network and the certificate"
        case UpstreamBusy():
            return f"{url} asks to wait (429)", "Check again in a few minutes"
        case ChatbotUnavailable(text=text):
            return f"the channel is switched off, with the text {text!r}", "Switch it on in Open Chat Studio"
        case CredentialsRefused(status=401) if site.starts_with == "embed_key":
            return (
                f"upstream refuses the embed key or the chatbot id: {error}",
                f"Copy both anew from the channel's page: sites.{site.slug}.embed_key and chatbot_id",
            )
        case CredentialsRefused() if site.starts_with != "embed_key":
            what, name = ("API key", "api_key") if site.starts_with == "api_key" else ("OAuth application", "oauth_…")
            return (
                f"upstream refuses the {what}: {error}",
                f"Check sites.{site.slug}.{name}, and that the channel takes it: with an embed key it takes no other",
            )
        case CredentialsRefused():
            return (
                f"upstream does not allow {origin}: {error}",
                "Add this host to the channel's allowed domains in Open Chat Studio",
            )
        case RequestRefused():
            return f"upstream refuses the request: {error}", f"Check sites.{site.slug}.chatbot_id"
        case BadAnswer():
            return f"{url} does not answer as Open Chat Studio does: {error}", "Check that the address is right"
        case _:
            return str(error), "See the log of Open Chat Studio"
