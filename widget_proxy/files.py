"""Files that visitors send to the bot: through the proxy to upstream, piece by piece, and then with a message."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from widget_proxy.client_address import visitor_who
from widget_proxy.config import CurrentSettings, Settings, Site
from widget_proxy.drain import Drain
from widget_proxy.file_names import clean_name, content_type_of, extension_of
from widget_proxy.form_file import open_form_file
from widget_proxy.handles import ChatSession, HandleExpired, HandleInvalid, Handles, UploadedRef
from widget_proxy.hub import Hub
from widget_proxy.problems import Problem, from_upstream
from widget_proxy.rates import Rates
from widget_proxy.transfers import TRY_AGAIN_SECONDS, Transfers
from widget_proxy.upstream import Upload, UpstreamError

DRAIN_SHARE = 0.5
"""Share of the time until the server exits in which a file may still arrive. A slow one takes longer in any case."""

_NO_STORE = {"Cache-Control": "no-store"}


class IncomingFile(Protocol):
    """One file on its way, as `form_file` and `form_files` read it."""

    claimed_name: bytes
    at_most: int
    size: int

    async def is_empty(self) -> bool: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Files:
    """`POST /v1/session/files`. `session_of` opens the handle that a request brings, and raises `Problem`."""

    def __init__(
        self,
        current: CurrentSettings,
        handles: Handles,
        hub: Hub,
        drain: Drain,
        rates: Rates,
        session_of: Callable[[Request], ChatSession],
    ) -> None:
        self._current = current
        settings = current.settings
        self._handles = handles
        self._hub = hub
        self._drain = drain
        self._rates = rates
        self._session_of = session_of
        # Messages need some connections, too.
        self._transfers = Transfers(max(1, min(settings.server.uploads, settings.upstream.connections // 2)))

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    @property
    def running(self) -> int:
        """Files on their way now."""
        return self._transfers.running

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/v1/session/files", self.upload, methods=["POST"])]

    async def upload(self, request: Request) -> Response:
        """Take one file and hand it on while it comes. What is certain to be refused never reaches upstream."""
        session = self._session_of(request)

        async def take(site: Site) -> Response:
            file = await open_form_file(request, site.limits.file_bytes, self._settings.server.upload_seconds)
            return JSONResponse({"files": [await self.hand_on(request, session, site, file)]}, 201, _NO_STORE)

        return await self.within_bounds(request, session, take)

    async def within_bounds(
        self, request: Request, session: ChatSession, take: Callable[[Site], Awaitable[Response]]
    ) -> Response:
        """Take files of a session's site, while there is room and time for it. Raises `Problem`."""
        site = self._settings.sites[session.site]
        if not site.attachments:
            raise Problem("file_type_not_supported", "This site takes no files.")
        with self._transfers.room(session.key, visitor_who(request.scope)), self._drain.within(DRAIN_SHARE):
            return await take(site)
        raise Problem(
            "unavailable",
            "The file did not arrive before a restart. Please send it again.",
            headers={"Retry-After": str(TRY_AGAIN_SECONDS), "Connection": "close"},
        )

    async def hand_on(self, request: Request, session: ChatSession, site: Site, file: IncomingFile) -> dict[str, Any]:
        """Hand one file on; what visitors are told of it. Raises `Problem`."""
        name = clean_name(file.claimed_name)
        if extension_of(name) not in site.limits.file_extensions:
            accepted = ", ".join(site.limits.file_extensions)
            raise Problem("file_type_not_supported", f"Files of this type are not accepted, only {accepted}.")
        if await file.is_empty():
            raise Problem("attachment_invalid", "The file is empty.")
        await self._rates.spend("uploads", request, site.slug, session.key)
        upload = Upload(name, content_type_of(name), file, file.at_most)
        try:
            stored = await self._hub.upload(session, upload)
        except UpstreamError as error:
            raise from_upstream(error, site.slug) from error
        ref = self._handles.seal_file(session, UploadedRef(stored.id, file.size))
        return {"id": ref, "name": name, "size": file.size, "content_type": upload.content_type}


def attachment_limits(site: Site) -> dict[str, Any] | None:
    """What the widget needs to know of a site's files; None where it takes none."""
    if not site.attachments:
        return None
    limits = site.limits
    return {
        "files": limits.files,
        "file_bytes": limits.file_bytes,
        "message_bytes": limits.message_file_bytes,
        "extensions": list(limits.file_extensions),
    }


def attached(handles: Handles, session: ChatSession, site: Site, refs: Sequence[str]) -> list[int]:
    """Upstream's ids of the files that go with a message. Raises `Problem`."""
    if refs and not site.attachments:
        raise Problem("attachment_invalid", "This site takes no files.")
    limits = site.limits
    distinct = list(dict.fromkeys(refs))
    if len(distinct) > limits.files:
        raise Problem("attachment_invalid", f"At most {limits.files} files can go with one message.")
    try:
        files = [handles.open_file(session, ref) for ref in distinct]
    except HandleInvalid:
        raise Problem(
            "attachment_invalid", "An attachment is not one that was uploaded in this conversation."
        ) from None
    except HandleExpired:
        raise Problem("attachment_invalid", "An attachment is too old. Please add it again.") from None
    if sum(file.size for file in files) > limits.message_file_bytes:
        raise Problem(
            "file_too_large", f"All files of a message may have at most {limits.message_file_bytes:,} bytes together."
        )
    return [file.file_id for file in files]
