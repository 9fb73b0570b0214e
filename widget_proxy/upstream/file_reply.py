"""A file of upstream's on its way down: its head has arrived, its bytes are asked for one piece after the other."""

from collections.abc import AsyncIterator

import anyio
import httpx

from widget_proxy.upstream.connection import translated
from widget_proxy.upstream.errors import BadAnswer, RequestRefused
from widget_proxy.upstream.replies import Reply, refuse_key


class FileReply:
    """Close it, whatever became of it. `status` is 200, 206, or 416, which has no bytes."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    def check(self) -> None:
        """Raises `CredentialsRefused`, `RequestRefused` where there is no such file, or `BadAnswer`."""
        refuse_key(Reply(self.status, self.headers, b""), "a file")
        if self.status == 404:
            raise RequestRefused(404, "there is no such file")
        if self.status not in {200, 206, 416}:
            raise BadAnswer(f"a file was answered by {self.status}")
        if self.headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}:
            raise BadAnswer("it is compressed, though identity was asked for")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, as they come. Nobody asks upstream for more than is taken here."""
        with translated():
            async for piece in self._response.aiter_raw():
                yield piece

    async def aclose(self) -> None:
        """Let go of the connection; an unfinished one is closed, and upstream sends no more."""
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
