"""How bytes go to one upstream instance and come back whole, or not at all.

What httpx does not do by itself is done here: a limit on an answer's whole time and size, no decompression (204 kB
of gzip made 200 MiB), no cookies, no proxy from the environment, no redirect.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from widget_proxy.config import UpstreamSettings
from widget_proxy.upstream.errors import AnswerTooLarge, BadAnswer, UpstreamBusy, UpstreamError, UpstreamUnreachable
from widget_proxy.upstream.limits import Standing, Standings, is_of_one_bucket, retry_after
from widget_proxy.upstream.replies import Reply


class Connection:
    """All connections to one upstream. Open it with `async with`."""

    def __init__(
        self,
        base_url: str,
        settings: UpstreamSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = base_url
        self._clock = clock
        self._settings = settings
        self._standings = Standings()
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=transport or _transport(settings),
            timeout=httpx.Timeout(
                connect=settings.connect_seconds,
                read=settings.read_seconds,
                write=settings.read_seconds,
                pool=settings.connect_seconds,
            ),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "widget-proxy"},
            # Every answer sets a cookie, and this client serves every visitor: what one is given, no other may send.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> "Connection":
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._http.aclose()

    def standing(self, bucket: str, now: float) -> Standing | None:
        """What upstream last said of a bucket. `now` by the clock this was given."""
        return self._standings.get(bucket, now)

    async def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        bucket: str,
        seconds: float,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request and its whole reply, within `seconds`. What the reply says of `bucket` is kept."""
        request = self.request(method, path, headers, json=json, params=params, data=data)
        return await self.send(request, asyncio.timeout(seconds), bucket)

    def request(self, method: str, path: str, headers: Mapping[str, str], **content: Any) -> httpx.Request:
        """A request, not sent yet. `content` as httpx takes it."""
        return self._http.build_request(method, path, headers=dict(headers), **content)

    async def send(self, request: httpx.Request, limit: asyncio.Timeout, bucket: str) -> Reply:
        """Its whole reply, within `limit`. Raises `UpstreamUnreachable`, `UpstreamBusy` or `BadAnswer`."""
        with translated():
            async with limit, self._answer_to(request) as response:
                reply = Reply(response.status_code, response.headers, await self._body(response))
        self._look_at(reply, bucket)
        return reply

    async def open(self, request: httpx.Request, seconds: float, bucket: str) -> httpx.Response:
        """Its head, within `seconds`; the body is for the caller to read, and the response to close."""
        with translated():
            async with asyncio.timeout(seconds):
                response = await self._http.send(request, stream=True)
        try:
            self._look_at(Reply(response.status_code, response.headers, b""), bucket)
        except UpstreamError:
            await response.aclose()
            raise
        return response

    def _look_at(self, reply: Reply, bucket: str) -> None:
        """What any reply may say. Raises `UpstreamBusy` or `BadAnswer`."""
        self._standings.note(bucket, reply.headers, self._clock())
        if reply.status == 429:
            own = is_of_one_bucket(reply.headers)
            text = f"upstream asks to wait (429, {'one session or channel' if own else 'everybody'})"
            raise UpstreamBusy(text, retry_after(reply.headers), for_all=not own)
        if 300 <= reply.status < 400:
            raise BadAnswer(f"it answered with a redirect ({reply.status}), which is not followed")

    @asynccontextmanager
    async def _answer_to(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        response = await self._http.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}:
            raise BadAnswer("it is compressed, though identity was asked for", fate="unknown")
        longest = self._settings.answer_bytes
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced[:18]) > longest:
            raise AnswerTooLarge(f"it is longer than {longest} bytes", fate="unknown")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > longest:
                raise AnswerTooLarge(f"it is longer than {longest} bytes", fate="unknown")
        return bytes(body)


def _transport(settings: UpstreamSettings) -> AiohttpTransport:
    """httpx's interface over aiohttp's connections: a fifth of the CPU per request of httpx's own at 20 at once."""

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections,
                # Shorter than upstream's own keep-alive (75 s), so that a send does not meet a closing connection.
                keepalive_timeout=30,
                ssl=_trusted_certificates(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    return AiohttpTransport(client=session, trust_env=False)


@contextmanager
def translated() -> Iterator[None]:
    """Whatever goes wrong on the way is one error of the tree."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamUnreachable("no whole answer in time", fate="unknown") from error
    except httpx.RequestError as error:
        if _never_connected(error):
            raise UpstreamUnreachable(f"no connection: {error}") from error
        # Among the others are resets on a connection reused: the request may have been read all the same.
        # Only their names: their texts hold whole addresses, with upstream's session id, and upstream's bytes.
        raise UpstreamUnreachable(f"no answer: {type(error.__cause__ or error).__name__}", fate="unknown") from error
    except aiohttp.ClientError as error:
        # Those the transport does not translate, such as a malformed status line.
        raise BadAnswer(f"it is no HTTP: {type(error).__name__}", fate="unknown") from error


@cache
def _trusted_certificates() -> ssl.SSLContext:
    """Whom to believe. Reading the list takes tens of milliseconds, and every client has the same one."""
    return httpx.create_ssl_context(trust_env=False)


def _never_connected(error: httpx.RequestError) -> bool:
    """Whether the request cannot have reached anybody. The transport calls every lost connection a `ConnectTimeout`,
    so that its own exceptions say nothing about this; the cause does."""
    cause = error.__cause__
    return isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) or (
        cause is None and isinstance(error, httpx.ConnectError)
    )
