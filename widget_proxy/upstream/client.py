"""The only place that speaks HTTP to Open Chat Studio.

What httpx does not do by itself is done here: a limit on an answer's whole time and size, no decompression (204 kB
of gzip made 200 MiB), no cookies, no proxy from the environment, no redirect.
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import TypeAdapter, ValidationError

from widget_proxy.config import UpstreamSettings
from widget_proxy.messages import format_moment
from widget_proxy.upstream import answers
from widget_proxy.upstream.answers import Complete, Failed, MessagePage, Processing, Started, TaskState, UploadedFile
from widget_proxy.upstream.errors import (
    AnswerTooLarge,
    BadAnswer,
    ChatbotUnavailable,
    CredentialsRefused,
    FileRefused,
    RequestRefused,
    SessionEnded,
    SessionLost,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnreachable,
)
from widget_proxy.upstream.limits import Standing, Standings, is_of_one_bucket, retry_after
from widget_proxy.upstream.widget_version import WidgetVersion

_LOST_CODES = {"session_token_required", "session_token_invalid", "session_expired"}

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call on a session carries. With a token it is all that is needed, and key and origin stay home: sent
    along they would bring the origin check back. Without one (older channels) key and origin go instead."""

    session_id: str
    token: str | None
    embed_key: str
    origin: str

    def headers(self) -> dict[str, str]:
        if self.token is not None:
            return {"X-Session-Token": self.token}
        return {"X-Embed-Key": self.embed_key, "Origin": self.origin}

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way to upstream, piece by piece. `at_most`: bytes it can have."""

    name: str
    content_type: str
    content: AsyncIterable[bytes]
    at_most: int


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: httpx.Headers
    body: bytes


class UpstreamClient:
    """One upstream instance. Open it with `async with`; its connections are shared by every session."""

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

    async def __aenter__(self) -> "UpstreamClient":
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._http.aclose()

    def standing(self, bucket: str, now: float) -> Standing | None:
        """What upstream last said of a bucket: a session's, by its id, or of starts, by the chatbot's. `now` by
        the clock this client was given."""
        return self._standings.get(bucket, now)

    async def start(
        self,
        *,
        chatbot_id: str,
        embed_key: str,
        origin: str,
        page_url: str,
        page_context: Mapping[str, Any] | None = None,
        participant_id: str | None = None,
        participant_name: str | None = None,
        session_data: Mapping[str, Any] | None = None,
        widget: WidgetVersion | None = None,
    ) -> Started:
        """Start a session. `origin` is the visitor's page's, already checked against the site's list; `page_url`
        is stored upstream as where the chat was embedded. `widget` is the version of a client that is not ours."""
        widget = widget or WidgetVersion(None)
        body: dict[str, Any] = {"chatbot_id": chatbot_id}
        if page_context:
            body["page_context"] = page_context
        if participant_id:
            body["participant_remote_id"] = participant_id
        if participant_name:
            body["participant_name"] = participant_name
        if session_data:
            body["session_data"] = session_data
        headers = {"X-Embed-Key": embed_key, "Origin": origin, "Referer": page_url} | widget.headers()
        reply = await self._call(
            "POST", "/api/chat/start/", headers, bucket=chatbot_id, seconds=self._settings.send_seconds, json=body
        )
        widget.note(reply.headers)
        if reply.status == 403 and (text := _error_text(reply, "error")) is not None and not _code(reply):
            raise ChatbotUnavailable(text)
        if reply.status in {401, 403}:
            raise CredentialsRefused(f"start answered {reply.status}: {_error_text(reply, 'detail', 'error') or '?'}")
        answer = _read(reply, answers.START, 201)
        return Started(
            session_id=answer.session_id,
            token=answer.session_token,
            chatbot_name=answer.chatbot.name,
            participant_id=answer.participant.remote_id or answer.participant.id or answer.participant.identifier,
            participant_name=answer.participant.name,
            seed_task_id=answer.seed_message_task_id,
        )

    async def send(
        self,
        credentials: Credentials,
        message: str,
        *,
        context: Mapping[str, Any] | None = None,
        attachment_ids: Sequence[int] = (),
        widget: WidgetVersion | None = None,
    ) -> str:
        """Send a visitor's message; the id of the task that makes its answer. Never tried twice: upstream has no
        idempotency, and an error's `fate` says whether the message may have arrived."""
        widget = widget or WidgetVersion(None)
        body: dict[str, Any] = {"message": message}
        if context is not None:
            body["context"] = context
        if attachment_ids:
            body["attachment_ids"] = list(attachment_ids)
        path = f"/api/chat/{credentials.session_id}/message/"
        headers = credentials.headers() | widget.headers()
        seconds = self._settings.send_seconds
        reply = await self._call("POST", path, headers, bucket=credentials.session_id, seconds=seconds, json=body)
        widget.note(reply.headers)
        _refuse_lost(reply)
        _refuse_ended(reply)
        if reply.status == 400 and _error_text(reply, "error") == "One or more file IDs are invalid":
            raise FileRefused(400, "it does not know an attached file", "unknown")
        return _read(reply, answers.SEND, 202).task_id

    async def poll_task(self, credentials: Credentials, task_id: str) -> TaskState:
        """Ask for an answer. An id upstream does not know is `Processing` for ever."""
        path = f"/api/chat/{credentials.session_id}/{task_id}/poll/"
        reply = await self._session_call("GET", path, credentials, self._settings.poll_seconds)
        _refuse_lost(reply)
        if reply.status in {400, 500}:
            # A failed task answers 500 with a JSON status; an outage answers 500 with HTML or without one.
            failure = _parse(reply, answers.TASK)
            if failure is None or failure.status != "error":
                raise BadAnswer(f"task poll answered {reply.status}", fate="unknown")
            return Failed(failure.error[:500] if reply.status == 400 and failure.error else None)
        answer = _read(reply, answers.TASK, 200)
        if answer.status == "complete":
            return Complete(answer.message.message() if answer.message else None)
        if answer.status == "error":
            return Failed(None)
        return Processing(answer.message.content if answer.message else None)

    async def poll_messages(self, credentials: Credentials, since: datetime | None, limit: int) -> MessagePage:
        """Ask for the history after `since` (exclusive). Not more often than every 30 seconds a session."""
        params = {"limit": str(limit)}
        if since is not None:
            params["since"] = format_moment(since)
        path = f"/api/chat/{credentials.session_id}/poll/"
        reply = await self._session_call("GET", path, credentials, self._settings.poll_seconds, params=params)
        _refuse_lost(reply)
        answer = _read(reply, answers.POLL, 200)
        return MessagePage(
            tuple(one.message() for one in answer.messages), answer.has_more, answer.session_status == "ended"
        )

    async def upload(self, credentials: Credentials, file: Upload) -> UploadedFile:
        """Hand a file over; its id goes into a message. Nothing of it is kept here: each piece is asked for when the
        one before is on its way. Whatever `file.content` raises comes out as it is, and upstream is left with a
        request cut off."""
        content = _OneFileForm(file, self._settings)
        headers = credentials.headers() | {
            "Content-Type": f"multipart/form-data; boundary={content.boundary}",
            # Said beforehand: Django under WSGI takes a body of unsaid length for none.
            "Content-Length": str(content.length),
        }
        path = f"/api/chat/{credentials.session_id}/upload/"
        request = self._http.build_request("POST", path, headers=headers, content=content)
        try:
            reply = await self._send(request, content.limit, credentials.session_id)
        except UpstreamError:
            if content.failure is not None:
                raise content.failure from None
            raise
        _refuse_lost(reply)
        _refuse_ended(reply)
        _refuse_file(reply)
        answer = _read(reply, answers.UPLOAD, 201)
        if len(answer.files) != 1:
            raise BadAnswer(f"it took {len(answer.files)} files instead of one", fate="unknown")
        (one,) = answer.files
        return UploadedFile(one.id, one.name, one.size, one.content_type)

    async def _session_call(
        self, method: str, path: str, credentials: Credentials, seconds: float, **content: Any
    ) -> _Reply:
        bucket = credentials.session_id
        return await self._call(method, path, credentials.headers(), bucket=bucket, seconds=seconds, **content)

    async def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        bucket: str,
        seconds: float,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> _Reply:
        request = self._http.build_request(method, path, headers=dict(headers), json=json, params=params)
        return await self._send(request, asyncio.timeout(seconds), bucket)

    async def _send(self, request: httpx.Request, limit: asyncio.Timeout, bucket: str) -> _Reply:
        try:
            async with limit, self._answer_to(request) as response:
                reply = _Reply(response.status_code, response.headers, await self._body(response))
        except TimeoutError as error:
            raise UpstreamUnreachable("no whole answer in time", fate="unknown") from error
        except httpx.RequestError as error:
            if _never_connected(error):
                raise UpstreamUnreachable(f"no connection: {error}") from error
            # Among the others are resets on a connection reused: the request may have been read all the same.
            # Only their names: their texts hold whole addresses, with upstream's session id, and upstream's bytes.
            raise UpstreamUnreachable(
                f"no answer: {type(error.__cause__ or error).__name__}", fate="unknown"
            ) from error
        except aiohttp.ClientError as error:
            # Those the transport does not translate, such as a malformed status line.
            raise BadAnswer(f"it is no HTTP: {type(error).__name__}", fate="unknown") from error
        self._standings.note(bucket, reply.headers, self._clock())
        if reply.status == 429:
            own = is_of_one_bucket(reply.headers)
            text = f"upstream asks to wait (429, {'one session or channel' if own else 'everybody'})"
            raise UpstreamBusy(text, retry_after(reply.headers), for_all=not own)
        if 300 <= reply.status < 400:
            raise BadAnswer(f"it answered with a redirect ({reply.status}), which is not followed")
        return reply

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


class _OneFileForm:
    """A form with one file in it, as a body that is made while it is sent.

    `limit` bounds what upstream does, and not what the file's sender does: how long it takes to connect, to take each
    piece, and to answer after the last. The sender's time is for `content` to bound. `failure` is what that raised.
    """

    def __init__(self, file: Upload, settings: UpstreamSettings) -> None:
        self.boundary = secrets.token_hex(16)
        name = file.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")  # as browsers do
        self._head = (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            f"Content-Type: {file.content_type}\r\n\r\n"
        ).encode()
        self._end = f"\r\n--{self.boundary}--".encode()
        self._file = file
        self._settings = settings
        self.length = len(self._head) + file.at_most + len(self._end)
        self.limit = asyncio.timeout(settings.connect_seconds + settings.read_seconds)
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Whoever iterates is another task than the one that waits for the answer: an error would be lost on the way.
        try:
            self._allow(self._settings.read_seconds)
            yield self._head
            self._allow(None)
            left = self._file.at_most
            async for piece in self._file.content:
                left -= len(piece)
                if left < 0:
                    raise ValueError(f"the file is longer than {self._file.at_most} bytes")  # noqa: TRY301 # see above
                self._allow(self._settings.read_seconds)
                yield piece
                self._allow(None)
            self._allow(self._settings.send_seconds)
            # What was said and is not there is line breaks behind the form, where nobody reads.
            yield self._end
            while left:
                piece = (b"\r\n" * 4096)[:left]
                left -= len(piece)
                yield piece
        except Exception as error:
            self.failure = error
            raise

    def _allow(self, seconds: float | None) -> None:
        with suppress(RuntimeError):  # it is over, and whoever iterates will be told
            self.limit.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


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


def _read(reply: _Reply, adapter: TypeAdapter[Model], expected: int) -> Model:
    if reply.status != expected:
        if reply.status in {400, 404, 413, 415} and (detail := _error_text(reply, "detail", "error")) is not None:
            raise RequestRefused(reply.status, detail)
        if reply.status == 400 and _parse(reply, answers.ERROR_BODY) is not None:
            raise RequestRefused(400, reply.body[:200].decode("utf-8", "replace"))
        raise BadAnswer(f"it answered {reply.status} instead of {expected}", fate="unknown")
    model = _parse(reply, adapter)
    if model is None:
        raise BadAnswer("its answer is not what the API documents", fate="unknown")
    return model


def _parse(reply: _Reply, adapter: TypeAdapter[Model]) -> Model | None:
    if not reply.headers.get("Content-Type", "").lower().startswith("application/json"):
        return None
    try:
        return adapter.validate_json(reply.body)
    except ValidationError:
        return None


def _refuse_lost(reply: _Reply) -> None:
    if reply.status not in {401, 403}:
        return
    code = _code(reply)
    if code in _LOST_CODES:
        raise SessionLost(f"upstream refuses the session: {code}")
    detail = _error_text(reply, "detail", "error") or "?"
    if detail == "Session does not exist":
        raise SessionLost("upstream does not know the session")
    raise CredentialsRefused(f"a session call answered {reply.status}: {detail}")


def _refuse_ended(reply: _Reply) -> None:
    if reply.status == 400 and _error_text(reply, "error") == "Session has ended":
        raise SessionEnded("the session has ended")


def _refuse_file(reply: _Reply) -> None:
    """An upload's own refusals. A 413 or 415 may come from whatever stands before upstream, in any shape."""
    text = _error_text(reply, "error", "detail") or ""
    if reply.status == 413 or (reply.status == 400 and "exceeds maximum" in text):
        raise FileRefused(reply.status, "it is larger than upstream takes", "size")  # its own words hold the name
    if reply.status == 415 or (reply.status == 400 and text.startswith("File type")):
        raise FileRefused(reply.status, text or "it is of a type that upstream does not take", "type")


def _code(reply: _Reply) -> str | None:
    code = (_parse(reply, answers.ERROR_BODY) or {}).get("code")
    return code if isinstance(code, str) else None


def _error_text(reply: _Reply, *fields: str) -> str | None:
    body = _parse(reply, answers.ERROR_BODY) or {}
    for name in fields:
        if isinstance(text := body.get(name), str):
            return text[:500]
    return None


__all__ = ["Credentials", "Upload", "UpstreamClient", "UpstreamError"]
