"""`widget-proxy serve · demo · check · sign · new-secret`."""

import json
import os
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import click

from widget_proxy import __version__
from widget_proxy.check import check_sites
from widget_proxy.config import ConfigError, Settings, load_settings
from widget_proxy.config.sources import CONFIG_VARIABLE
from widget_proxy.demo import run_demo
from widget_proxy.log import log_to_stderr
from widget_proxy.serving import serve as run_server
from widget_proxy.visitor_tokens import VisitorTokenInvalid, read_token, sign_token

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([smh])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no time. Write 90s, 30m or 24h.")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="The settings file. Default: WIDGET_PROXY_CONFIG, else ./widget-proxy.toml where it exists.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="widget-proxy")
def main() -> None:
    """An embeddable chat for Open Chat Studio that keeps the embed key on your server."""


@main.command()
@config_option
@click.option("--host", help="Address to listen on. Default: server.host, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. Default: server.port, 8080.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve. Default: server.workers, 1.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: server.log_level, info."
)
def serve(
    config: Path | None, host: str | None, port: int | None, workers: int | None, log_level: str | None
) -> None:
    """Serve the widget and its API. Several workers share what they know through Redis."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)  # the workers read it as well
    if workers is not None:
        os.environ["WIDGET_PROXY_SERVER__WORKERS"] = str(workers)
    if log_level is not None:
        os.environ["WIDGET_PROXY_SERVER__LOG_LEVEL"] = log_level
    settings = _settings(None)
    log_to_stderr(settings.server.log_level, settings.server.log_format)
    run_server(settings, host or settings.server.host, settings.server.port if port is None else port)


@main.command()
@click.option("--port", type=click.IntRange(1, 65533), default=8080, show_default=True, help="The proxy's port.")
@click.option("--open", "open_browser", is_flag=True, help="Open the shop in a browser.")
def demo(port: int, open_browser: bool) -> None:
    """Start the proxy, a stand-in for Open Chat Studio, and a shop with the chat on it. Ctrl-C ends all three."""
    sys.exit(run_demo(port, open_browser=open_browser))


@main.command()
@config_option
@click.option("--origin", help="Ask as a page of this origin. Default: the first allowed one of each site.")
def check(config: Path | None, origin: str | None) -> None:
    """Ask upstream whether each site really works. Starts one session a site, and sends nothing in it."""
    settings = _settings(config)
    log_to_stderr("error")
    results = anyio.run(check_sites, settings, origin)
    for result in results:
        mark = click.style("ok", fg="green") if result.works else click.style("not working", fg="red")
        click.echo(f"{result.site}: {mark}: {result.finding}")
        if result.mend:
            click.echo(f"    {result.mend}")
    if settings.pages.chat and settings.server.public_url is None:
        click.echo(
            "Note: server.public_url is not set. Websites need it not; the chat as a page of its own, for links and "
            "QR codes, is found at no name without it"
        )
    sys.exit(0 if all(result.works for result in results) else 1)


@main.command()
@config_option
@click.option("--site", "slug", help="Sign for this site. Default: the only one that takes tokens.")
@click.option("--sub", required=True, help="The visitor's id, as your server knows it.")
@click.option("--name", help="The visitor's name.")
@click.option("--page-context", metavar="JSON", help="What is signed of the page, such as '{\"price\": 89}'.")
@click.option(
    "--expires", callback=_duration, default="1h", show_default=True, help="From now, such as 90s, 30m or 24h."
)
def sign(
    config: Path | None, slug: str | None, sub: str, name: str | None, page_context: str | None, expires: timedelta
) -> None:
    """Print a visitor token, to try a site with. Whoever has it is that visitor until it expires."""
    settings = _settings(config)
    takers = [site.slug for site in settings.sites.values() if site.takes_tokens != "off"]
    slug = slug or (takers[0] if len(takers) == 1 else None)
    if slug is None or slug not in takers:
        raise click.UsageError(
            f"Name a site that takes visitor tokens with --site: {', '.join(takers)}."
            if takers
            else "No site takes visitor tokens: none has a visitor_secret."
        )
    now = datetime.now(UTC)
    claims: dict[str, Any] = {"sub": sub, "aud": slug, "exp": int((now + expires).timestamp())}
    if name is not None:
        claims["name"] = name
    if page_context is not None:
        try:
            claims["page_context"] = json.loads(page_context)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"it is no JSON: {error}", param_hint="--page-context") from None
    site = settings.sites[slug]
    token = sign_token(claims, site.visitor_secret[-1])
    try:
        read_token(token, site, now)
    except VisitorTokenInvalid as error:
        raise click.ClickException(str(error)) from None
    click.echo(token)


@main.command()
def new_secret() -> None:
    """Print a new secret, for WIDGET_PROXY_SECRET_KEY, or for a site's visitor_secret."""
    click.echo(secrets.token_urlsafe(32))


def _settings(config: Path | None) -> Settings:
    try:
        return load_settings(os.environ, config)
    except ConfigError as error:
        click.echo("The configuration cannot be used:", err=True)
        for problem in error.problems:
            click.echo(f"  - {problem}", err=True)
        sys.exit(2)
