"""Files of a conversation, fetched with what the site itself is let in by, and handed on as they come.

A link cannot send `Authorization`, so its reference is an authority of its own: for one file of one conversation,
until that expires. Whoever has the link has the file. It is in no log of ours, and no page learns it as a `Referer`.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from widget_proxy.client_address import visitor_who
from widget_proxy.config import CurrentSettings, Site
from widget_proxy.drain import Drain
from widget_proxy.file_names import clean_name, content_type_of
from widget_proxy.handles import AttachedFile, ChatSession, HandleExpired, HandleInvalid, Handles
from widget_proxy.hub import Hub
from widget_proxy.messages import Attachment
from widget_proxy.problems import Problem, from_upstream
from widget_proxy.rates import Rates
from widget_proxy.transfers import TRY_AGAIN_SECONDS, Transfers
from widget_proxy.upstream import BadAnswer, CredentialsRefused, RequestRefused, UpstreamError, team_credential
from widget_proxy.upstream.file_reply import FileReply

logger = logging.getLogger(__name__)

PATH = "/v1/files/"

STALL_SECONDS = 30.0
"""A reader who takes nothing for so long is let go; it can ask for the rest."""

DRAIN_SHARE = 0.8

_RANGE = re.compile(r"bytes=(?:\d{1,18}-\d{0,18}|-\d{1,18})")
# Whatever goes through is of a shape that can be nothing else.
_ASKED = {"Range": _RANGE, "If-Range": re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"|[A-Za-z0-9,: +-]{1,64}')}
_TOLD = {
    "Content-Length": re.compile(r"\d{1,18}"),
    "Content-Range": re.compile(r"bytes (?:\d{1,18}-\d{1,18}|\*)/(?:\d{1,18}|\*)"),
    "Accept-Ranges": re.compile(r"bytes|none"),
    "ETag": re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"'),
    "Last-Modified": re.compile(r"[A-Za-z0-9,: +-]{1,64}"),
}

_HEADERS = {
    "Cache-Control": "private",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


def file_url(handles: Handles, session: ChatSession, site: Site, attachment: Attachment) -> str | None:
    """Where a message's file can be had, as a path on this server; None where it cannot."""
    if attachment.file_id is None or team_credential(site) is None:
        return None
    file = AttachedFile(session.site, session.key, attachment.file_id, clean_name(attachment.name.encode()))
    return PATH + handles.seal_attached(session, file)


class Downloads:
    """`GET /v1/files/{ref}`. It asks for no origin: following a link is no request of a page's script, and no page
    can read or embed the answer."""

    def __init__(self, current: CurrentSettings, handles: Handles, hub: Hub, drain: Drain, rates: Rates) -> None:
        self._current = current
        self._handles = handles
        self._hub = hub
        self._drain = drain
        self._rates = rates
        settings = current.settings
        self._seconds = settings.server.download_seconds
        # Messages need some connections, too.
        self._transfers = Transfers(max(1, min(settings.server.downloads, settings.upstream.connections // 4)))

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route(PATH + "{ref}", self.download, methods=["GET"])]

    async def download(self, request: Request) -> "_Download":
        """The file behind a reference."""
        try:
            file = self._handles.open_attached(request.path_params["ref"])
        except HandleInvalid:
            raise Problem("not_found", "There is no such file here.") from None
        except HandleExpired:
            raise Problem("session_expired", "This link has expired, with its conversation.") from None
        site = self._current.settings.sites.get(file.site)
        if site is None or team_credential(site) is None:
            raise Problem("not_found", "There is no such file here.")
        await self._rates.spend("downloads", request, file.site, file.session)
        asked = {name: value for name, shape in _ASKED.items() if (value := _one(request.headers, name, shape))}
        return _Download(self, site, file, request.method, asked)

    async def open(self, site: Site, file: AttachedFile, method: str, headers: Mapping[str, str]) -> FileReply:
        """Ask upstream. Raises `Problem`; the caller closes what it gets."""
        try:
            reply = await self._hub.open_file(site, file.file_id, method, headers)
        except CredentialsRefused as error:
            logger.error(  # noqa: TRY400 # the sentence says it all
                "site %s: upstream lets the site fetch no files (%s). Check sites.%s.api_key; an OAuth application "
                "needs the scope files:read",
                site.slug,
                error,
                site.slug,
            )
            raise Problem("misconfigured", "Files cannot be fetched just now. Please try again later.") from error
        except RequestRefused as error:
            raise Problem("not_found", "This file is no longer there.") from error
        except UpstreamError as error:
            raise from_upstream(error, site.slug) from error
        media_type = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if reply.status != 416 and media_type == "text/html" != content_type_of(file.name):
            await reply.aclose()
            raise from_upstream(BadAnswer("a page came in place of a file"), site.slug)
        return reply

    @contextmanager
    def room(self, file: AttachedFile, scope: Scope) -> Iterator[None]:
        """A place among the files on their way, for as long as they may take. Raises `Problem`."""
        with (
            self._transfers.room(file.session, visitor_who(scope)),
            self._drain.within(DRAIN_SHARE),
            anyio.move_on_after(self._seconds),
        ):
            yield


class _Download:
    """The answer. Upstream is asked when it is to be sent, and let go of when it was, or when its reader is gone."""

    def __init__(
        self, downloads: Downloads, site: Site, file: AttachedFile, method: str, asked: Mapping[str, str]
    ) -> None:
        self._downloads = downloads
        self._site = site
        self._file = file
        self._method = method
        self._asked = asked
        self._began = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        with self._downloads.room(self._file, scope):
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, group.cancel_scope)
                try:
                    await self._pass_on(send)
                except Exception as error:  # noqa: BLE001 # whoever handles it knows no groups: raised behind it
                    failure = error
                group.cancel_scope.cancel()
        if not self._began:
            # Without a failure its time was over, or its reader gone, who hears nothing of this.
            raise failure or Problem(
                "unavailable",
                "The file could not be fetched in time. Please try again.",
                headers={"Retry-After": str(TRY_AGAIN_SECONDS)},
            )
        if failure is None:
            return
        # Its length was said, so its reader sees that it is cut off, and may ask for the rest.
        logger.warning("site %s: a file was cut off on its way: %s", self._site.slug, failure)

    async def _pass_on(self, send: Send) -> None:
        reply = await self._downloads.open(self._site, self._file, self._method, self._asked)
        try:
            told = {name: value for name, shape in _TOLD.items() if (value := _one(reply.headers, name, shape))}
            headers = _HEADERS | told | {"Content-Disposition": disposition(self._file.name)}
            if reply.status == 416:
                headers.pop("Content-Length", None)
            else:
                headers["Content-Type"] = content_type_of(self._file.name)
            raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
            self._began = True
            await send({"type": "http.response.start", "status": reply.status, "headers": raw})
            if self._method == "GET" and reply.status != 416:
                async for piece in reply.pieces():
                    with anyio.fail_after(STALL_SECONDS):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await reply.aclose()


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def disposition(name: str) -> str:
    """`Content-Disposition` that saves a file by this clean name (RFC 6266, RFC 8187), never opens it."""
    plain = "".join(one if (one.isascii() and one.isalnum()) or one in "._- ()" else "_" for one in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _one(headers: Mapping[str, str], name: str, shape: re.Pattern[str]) -> str | None:
    value = headers.get(name, "")
    return value if shape.fullmatch(value) else None
