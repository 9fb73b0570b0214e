import os
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import ARGUMENTS, Stage, Visitor, visiting
from tests.servers import HOST, FakeUpstream, Proxy, Redis, running
from tests.website import Website, on_website

HEADLESS_CHROMIUM = "chromium-headless-shell"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# How long a test takes that uses one of these, roughly, against one with a browser.
WEIGHTS = {"firefox": 5, "browser": 1, "pair": 3, "supervised": 5, "own_proxy": 1}


def pytest_configure(config: pytest.Config) -> None:
    """Servers are compiled once, also where no bytecode is to lie beside the code: it is half of what a start takes."""
    if config.pluginmanager.has_plugin("cacheprovider") and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(config.cache.mkdir("bytecode")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take longest first, so that of several processes none has long to do when the others are done."""
    weights: Counter[Path] = Counter()
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        weights[item.path] += next((weight for name, weight in WEIGHTS.items() if name in used), 0)
    items.sort(key=lambda item: -weights[item.path])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis") / "log") as server:
        yield server


@pytest.fixture
def redis(_redis_server: Redis) -> Redis:
    """A Redis server, with nothing in it."""
    with socket.create_connection((HOST, _redis_server.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(10) == b"+OK\r\n"
    return _redis_server


@pytest.fixture(scope="session")
def _upstream_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with FakeUpstream(tmp_path_factory.mktemp("upstream") / "log", "--think", "0.2") as server:
        yield server


@pytest.fixture
def upstream(_upstream_server: FakeUpstream) -> FakeUpstream:
    """The fake upstream, as new. Answers take 0.2 s unless a test orders otherwise."""
    _upstream_server.order("reset")
    return _upstream_server


@pytest.fixture(scope="session")
def _proxy_server(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(_upstream_server.url, tmp_path_factory.mktemp("proxy") / "log") as server:
        yield server


@pytest.fixture
def proxy(_proxy_server: Proxy, upstream: FakeUpstream) -> Proxy:
    """A proxy before the fake upstream, shared by tests that do not restart it."""
    return _proxy_server


@pytest.fixture
def own_proxy(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of the test's own, to be stopped, killed and started again."""
    with Proxy(upstream.url, tmp_path / "proxy.log") as server:
        yield server


def _first_of(*browsers: str | None) -> str:
    for browser in browsers:
        if browser and (found := shutil.which(browser)):
            return found
    raise RuntimeError("no Chromium found: install it, or set CHROMIUM to its path (scripts/test does it with apt)")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser the tests drive: Chromium's headless build, where it is installed."""
    return _first_of(os.environ.get("CHROMIUM"), HEADLESS_CHROMIUM, *CHROMIUM)


@pytest.fixture(scope="session")
def whole_chromium_path() -> str:
    """For what the headless build has not: it keeps no page in the back/forward cache."""
    named = os.environ.get("CHROMIUM", "")
    return _first_of(None if Path(named).name == HEADLESS_CHROMIUM else named, *CHROMIUM)


# Not the session's: while Playwright runs, no other event loop can run in its thread, and tests of other modules do.
@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    with running(stage.upstream, stage.proxy, stage.shop), stage.workshop:
        yield stage


@pytest.fixture
def stage(_stage: Stage) -> Stage:
    """Upstream, proxy and shop, as new. Answers take 0.4 s unless a test orders otherwise."""
    _stage.upstream.order("reset")
    return _stage


@pytest.fixture
def visitor(browser: Browser, stage: Stage) -> Iterator[Visitor]:
    """A visitor of the shop. Whatever goes uncaught in the page fails the test."""
    with visiting(browser, stage) as visitor:
        yield visitor
        assert [line for line in visitor.console if line.startswith("uncaught")] == []


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Where pictures go: `WIDGET_PROXY_TEST_IMAGES=docs/images` renews those of the documentation."""
    return Path(os.environ.get("WIDGET_PROXY_TEST_IMAGES", tmp_path))


@pytest.fixture
def website(browser: Browser, stage: Stage) -> Iterator[Website]:
    """A page of a test's own with the chat on it. Whatever goes uncaught in it fails the test."""
    with on_website(browser, stage) as website:
        yield website
