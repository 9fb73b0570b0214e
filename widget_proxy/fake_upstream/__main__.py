"""`python -m widget_proxy.fake_upstream`: a stand-in for Open Chat Studio on a port of this machine."""

from typing import get_args

import click
import uvicorn

from widget_proxy.fake_upstream.app import create_app
from widget_proxy.fake_upstream.settings import DEMO_CHATBOT_ID, DEMO_EMBED_KEY, Channel, FakeUpstreamSettings, Mode


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8081, show_default=True)
@click.option("--chatbot-id", default=DEMO_CHATBOT_ID, show_default=True)
@click.option("--embed-key", default=DEMO_EMBED_KEY, show_default=True)
@click.option("--allowed-domain", multiple=True, default=["localhost", "127.0.0.1"], show_default=True)
@click.option("--mode", type=click.Choice(get_args(Mode)), default="tokens", show_default=True)
@click.option("--deprecated-version", multiple=True, help="Of the official widget: such a one is told to go.")
@click.option("--seed-message", help="The bot speaks first, as on older instances.")
@click.option("--think", default=1.5, show_default=True, help="Seconds an ordinary answer takes.")
@click.option("--enforce-limits", is_flag=True, help="Answer 429 where upstream would.")
@click.option("--window-seconds", default=300.0, show_default=True, help="Length of the limits' windows.")
@click.option("--session-limit", default=300, show_default=True, help="Requests of one session in a window.")
@click.option("--start-limit", default=300, show_default=True, help="Starts of one channel in a window.")
@click.option("--bearer-seconds", default=3600.0, show_default=True, help="How long an access token is good.")
@click.option("--host-limit", default=2000, show_default=True, help="Requests of one address in a window.")
def main(
    host: str,
    port: int,
    chatbot_id: str,
    embed_key: str,
    allowed_domain: tuple[str, ...],
    mode: Mode,
    deprecated_version: tuple[str, ...],
    seed_message: str | None,
    think: float,
    enforce_limits: bool,
    window_seconds: float,
    session_limit: int,
    start_limit: int,
    bearer_seconds: float,
    host_limit: int,
) -> None:
    """A stand-in for Open Chat Studio, for the demo and the tests."""
    channel = Channel(
        chatbot_id=chatbot_id,
        embed_key=embed_key,
        allowed_domains=tuple(allowed_domain),
        mode=mode,
        seed_message=seed_message,
    )
    settings = FakeUpstreamSettings(
        channels=[channel],
        think_seconds=think,
        enforce_limits=enforce_limits,
        window_seconds=window_seconds,
        session_limit=session_limit,
        start_limit=start_limit,
        host_limit=host_limit,
        deprecated_widget_versions=deprecated_version,
        bearer_seconds=bearer_seconds,
    )
    click.echo(f"A stand-in for Open Chat Studio on http://{host}:{port}")
    uvicorn.run(create_app(settings), host=host, port=port, log_level="critical", access_log=False)


main()
