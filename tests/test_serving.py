"""How the server runs: what it allows its workers and its visitors, and what it does when it cannot go on."""

import signal
import socket
from pathlib import Path
from uuid import UUID

import pytest

from tests.servers import FakeUpstream, Proxy
from widget_proxy.config import Settings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.serving import config_of, listen


@pytest.fixture
def settings() -> Settings:
    site = {
        "slug": "shop",
        "chatbot_id": UUID(DEMO_CHATBOT_ID),
        "embed_key": "marker-embed-key",
        "allowed_origins": ["https://shop.example.com"],
        "upstream_url": "http://127.0.0.1:9",
    }
    return Settings.model_validate({"secret_key": "k" * 32, "sites": {"shop": site}})


def test_a_visitor_who_vanished_without_a_word_is_let_go_after_thirty_seconds(settings: Settings) -> None:
    with listen(config_of(settings, "127.0.0.1", 0)) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_worker_slow_to_start_is_not_killed_again_and_again(settings: Settings) -> None:
    assert config_of(settings, "127.0.0.1", 0).timeout_worker_healthcheck == 30


BROKEN = """
import sys
import anyio
from widget_proxy import stream
from widget_proxy.cli import main

async def run(self):
    await anyio.sleep(1)
    raise RuntimeError("marker: a fault of ours")

stream.Streams.run = run
sys.argv[0] = "widget-proxy"
main()
"""


def test_a_process_that_cannot_go_on_ends_so_that_another_can_take_its_place(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    """uvicorn would serve on without its streams, and nobody would know."""
    (tmp_path / "broken.py").write_text(BROKEN)
    proxy = Proxy(upstream.url, tmp_path / "log")
    proxy.run_file_instead(tmp_path / "broken.py")
    with proxy:
        assert proxy.ends_by_itself(20) in {-signal.SIGTERM, 143}
    assert "critical" in proxy.output()
    assert "the proxy cannot go on and ends" in proxy.output()
    assert "marker: a fault of ours" in proxy.output()
