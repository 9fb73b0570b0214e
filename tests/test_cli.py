"""The commands, run as a user runs them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import jwt
import pytest

from tests.servers import EMBED_KEY, HOST, SECRET_KEY, SHOP_ORIGIN, VISITOR_SECRET, FakeUpstream, free_port
from widget_proxy import __version__
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WIDGET_PROXY_")}
    return subprocess.run(
        [sys.executable, "-m", "widget_proxy", *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def one_site(upstream_url: str, **changes: str) -> dict[str, str]:
    return {
        "WIDGET_PROXY_UPSTREAM_URL": upstream_url,
        "WIDGET_PROXY_CHATBOT_ID": DEMO_CHATBOT_ID,
        "WIDGET_PROXY_EMBED_KEY": EMBED_KEY,
        "WIDGET_PROXY_ALLOWED_ORIGINS": f"{SHOP_ORIGIN},https://*.example.com",
        "WIDGET_PROXY_SECRET_KEY": SECRET_KEY,
    } | changes


def test_it_tells_its_version() -> None:
    assert run("--version").stdout.strip().endswith(__version__)


def test_a_new_secret_is_another_one_each_time_and_long_enough_to_serve_with() -> None:
    first, second = run("new-secret").stdout.strip(), run("new-secret").stdout.strip()
    assert first != second
    assert len(first) >= 32
    assert re.fullmatch(r"[A-Za-z0-9_-]+", first), "it can be pasted anywhere"


def test_without_a_secret_it_refuses_to_serve_and_says_how_to_make_one(tmp_path: Path) -> None:
    environment = one_site("http://127.0.0.1:9")
    del environment["WIDGET_PROXY_SECRET_KEY"]
    outcome = run("serve", **environment)
    assert outcome.returncode == 2
    assert "secret_key (not set)" in outcome.stderr
    assert "widget-proxy new-secret" in outcome.stderr
    assert "WIDGET_PROXY_SECRET_KEY" in outcome.stderr


def test_every_mistake_is_named_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "widget-proxy.toml"
    file.write_text(
        f'secret_key = "{SECRET_KEY}"\n[upstream]\nurl = "https://ocs.example.com"\n'
        '[sites.shop]\nchatbot_id = "abc"\nembed_key = "marker-embed-key"\nallowed_orgins = ["https://x.example"]\n'
    )
    outcome = run("serve", "--config", str(file))
    assert outcome.returncode == 2
    assert f"sites.shop.chatbot_id ({file}:5)" in outcome.stderr
    assert (
        f"sites.shop.allowed_orgins ({file}:7): there is no such setting. Did you mean allowed_origins?"
        in outcome.stderr
    )
    assert "sites.shop.allowed_origins" in outcome.stderr
    assert "marker-embed-key" not in outcome.stderr


def test_five_variables_are_enough_to_serve(upstream: FakeUpstream, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "widget_proxy", "serve", "--host", HOST, "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WIDGET_PROXY_")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment | one_site(upstream.url), stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        wait_for_port(port, process)
        response = httpx2.get(f"http://{HOST}:{port}/v1/sites/default", headers={"Origin": "https://www.example.com"})
        assert response.status_code == 200
    finally:
        process.terminate()
        assert process.wait(10) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}


def test_check_finds_a_working_site(upstream: FakeUpstream) -> None:
    outcome = run("check", **one_site(upstream.url))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "default: ok: started a session" in outcome.stdout


def test_check_tries_the_proxys_own_origin_where_it_has_a_chat_page(upstream: FakeUpstream) -> None:
    own = "https://127.0.0.1"
    site = one_site(upstream.url, WIDGET_PROXY_SERVER__PUBLIC_URL=own)
    told = run("check", "--origin", own, **site).stdout
    assert f"from {own}" in told
    assert "public_url" not in told
    assert "Note: server.public_url is not set" in run("check", **one_site(upstream.url)).stdout
    without = run("check", "--origin", own, **site, WIDGET_PROXY_PAGES__CHAT="false")
    assert "not an allowed origin" in without.stdout


@pytest.mark.parametrize(
    ("changes", "finding", "mend"),
    [
        ({"WIDGET_PROXY_EMBED_KEY": "wrong"}, "401", "embed_key"),
        ({"WIDGET_PROXY_CHATBOT_ID": "00000000-0000-4000-8000-00000000dead"}, "401", "chatbot_id"),
        ({"WIDGET_PROXY_ALLOWED_ORIGINS": "https://nowhere.test"}, "https://nowhere.test", "allowed domains"),
        ({"WIDGET_PROXY_UPSTREAM_URL": "http://127.0.0.1:9"}, "cannot be reached", "address"),
    ],
)
def test_check_says_what_to_change(upstream: FakeUpstream, changes: dict[str, str], finding: str, mend: str) -> None:
    outcome = run("check", **one_site(upstream.url, **changes))
    assert outcome.returncode == 1
    assert "default: not working:" in outcome.stdout
    assert finding in outcome.stdout
    assert mend in outcome.stdout
    assert EMBED_KEY not in outcome.stdout + outcome.stderr


def test_sign_prints_a_token_and_nothing_else() -> None:
    site = one_site("http://127.0.0.1:9", WIDGET_PROXY_VISITOR_SECRET=f"{'o' * 32},{VISITOR_SECRET}")
    page = '{"price": 89}'
    outcome = run("sign", "--sub", "u-7", "--name", "Maya", "--page-context", page, "--expires", "30m", **site)
    assert outcome.returncode == 0, outcome.stderr
    claims = jwt.decode(outcome.stdout.strip(), VISITOR_SECRET, algorithms=["HS256"], audience="default")
    assert 0 < claims.pop("exp") - time.time() <= 1800
    assert claims == {"sub": "u-7", "name": "Maya", "aud": "default", "page_context": {"price": 89}}
    assert len(outcome.stdout.splitlines()) == 1
    assert outcome.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        ([], "Missing option '--sub'"),
        (["--sub", ""], "its sub is no text"),
        (["--sub", "u", "--site", "nowhere"], "Name a site that takes visitor tokens with --site: default."),
        (["--sub", "u", "--expires", "2d"], "Write 90s, 30m or 24h"),
        (["--sub", "u", "--expires", "-1h"], "Write 90s, 30m or 24h"),
        (["--sub", "u", "--expires", "25h"], "over 24 hours"),
        (["--sub", "u", "--page-context", "{"], "it is no JSON"),
        (["--sub", "u", "--page-context", "[1]"], "must be a JSON object"),
        (["--sub", "u", "--page-context", '{"__proto__": 1}'], "__proto__"),
    ],
)
def test_sign_says_what_to_write_instead(arguments: list[str], mend: str) -> None:
    outcome = run("sign", *arguments, **one_site("http://127.0.0.1:9", WIDGET_PROXY_VISITOR_SECRET=VISITOR_SECRET))
    assert outcome.returncode in {1, 2}
    assert outcome.stdout == ""
    assert mend in outcome.stderr
    assert VISITOR_SECRET not in outcome.stderr


def test_without_a_visitor_secret_there_is_nothing_to_sign_with() -> None:
    outcome = run("sign", "--sub", "u", **one_site("http://127.0.0.1:9"))
    assert outcome.returncode == 2
    assert "none has a visitor_secret" in outcome.stderr


def test_the_demo_serves_a_shop_of_another_origin_and_ctrl_c_ends_all_three(tmp_path: Path) -> None:
    with demo([sys.executable, "-m", "widget_proxy"], tmp_path) as addresses:
        shop, proxy, upstream = addresses
        assert len({shop, proxy, upstream}) == 3
        assert f'<script src="{proxy}/widget.js" data-site="shop" async></script>' in httpx2.get(f"{shop}/").text
        origin = {"Origin": shop}
        assert httpx2.get(f"{proxy}/v1/sites/shop", headers=origin).status_code == 200
        assert httpx2.post(f"{proxy}/v1/sites/shop/sessions", headers=origin, json={}).status_code == 201
    for address in addresses:
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, int(address.rpartition(":")[2]))) != 0, f"{address} is still served"


@contextmanager
def demo(command: list[str], cwd: Path) -> Iterator[tuple[str, str, str]]:
    """The demo, started as a user does; the addresses of shop, proxy and upstream. It ends with Ctrl-C."""
    process = subprocess.Popen(
        [*command, "demo", "--port", str(free_port())], stdout=subprocess.PIPE, text=True, cwd=cwd
    )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if "Ctrl-C" in line:
            break
    shop, proxy, upstream = re.findall(r"http://127\.0\.0\.1:\d+", printed)
    try:
        yield shop, proxy, upstream
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        process.stdout.close()
    assert code == 0


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("it did not start")
