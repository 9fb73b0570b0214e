"""The form that a file goes up in, made while it is sent."""

import asyncio
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from widget_proxy.config import UpstreamSettings


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way to upstream, piece by piece. `at_most`: bytes it can have."""

    name: str
    content_type: str
    content: AsyncIterable[bytes]
    at_most: int


class OneFileForm:
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
