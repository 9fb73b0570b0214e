"""The one file of a `multipart/form-data` body, read piece by piece as it arrives. Nothing of it is kept."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from widget_proxy.bodies import BODY_SECONDS
from widget_proxy.problems import Problem

FIELD = "files"
HEAD_BYTES = 8192
"""What a form may have before and behind its file."""

DISCARDED_BYTES = 1024**3
"""What is read, and thrown away, of a refused body. Closing the connection is cheaper, but a browser that is still
sending then tells its page that the network failed, and not why the file was refused."""

_CLOSE = {"Connection": "close"}


class FormReader:
    """A form as it comes. Whoever derives from it is told what the parser finds, and takes nothing for granted.

    `left` counts the bytes that have not come yet.
    """

    def __init__(self, request: Request, boundary: bytes, length: int, seconds: float) -> None:
        self.left = length
        self._chunks = request.stream()
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + seconds
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": lambda data, start, end: self._part_data(data[start:end]),
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )

    async def receive(self) -> bytes | None:
        """More of the body; None at its end."""
        try:
            async with asyncio.timeout(min(BODY_SECONDS, self._deadline - self._clock())):
                async for chunk in self._chunks:
                    if chunk:
                        self.left -= len(chunk)
                        if self.left < 0:
                            raise malformed()
                        return chunk
        except TimeoutError:
            raise Problem("bad_request", "The file did not arrive in time.", status=408, headers=_CLOSE) from None
        except ClientDisconnect:
            raise Problem("bad_request", "The file did not arrive whole.") from None
        return None

    def parse(self, data: bytes) -> None:
        """Look at some of it, in order."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise malformed() from None
        if sum(map(len, self._header)) > HEAD_BYTES:
            raise malformed()

    # What the parser finds

    def _part_begins(self) -> None:
        """A part of the form."""

    def _header_ends(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        name.clear()
        value.clear()

    def _headers_end(self) -> None:
        """All of a part's headers were there; `_disposition` is what it is."""

    def _part_data(self, data: bytes) -> None:
        """Some of its content."""

    def _part_ends(self) -> None:
        """That was all of it."""

    def _form_ends(self) -> None:
        self._ended = True


class FormFile(FormReader):
    """A file on its way. `claimed_name` is what its sender calls it, `at_most` how many bytes it can have: the form's
    end may have a line break or not. `size` counts what has come.

    Iterate for its bytes, once; the iteration ends only when the form has ended as it should. Each step may raise
    `Problem`.
    """

    def __init__(self, request: Request, boundary: bytes, length: int, longest: int, seconds: float) -> None:
        super().__init__(request, boundary, length, seconds)
        self.claimed_name = b""
        self.at_most = 0
        self.size = 0
        self._longest = longest
        self._delimiter = b"\r\n--" + boundary
        self._pieces: list[bytes] = []
        self._begun = self._over = False

    async def read_head(self) -> None:
        """As far as the file's first byte."""
        read = bytearray()
        fed = 0
        while not self._begun:
            end = read.find(b"\r\n\r\n", fed) + 4
            if end > HEAD_BYTES:
                raise malformed()
            if end > 3:
                self.parse(bytes(read[fed:end]))
                fed = end
            elif len(read) > HEAD_BYTES or self._ended or (more := await self.receive()) is None:
                raise malformed()
            else:
                read += more
        self.at_most = self.left + len(read) - fed - len(self._delimiter + b"--")
        if self.at_most < 0:
            raise malformed()
        if self.at_most - 2 > self._longest:
            raise too_large(self._longest)
        self.parse(bytes(read[fed:]))

    async def is_empty(self) -> bool:
        """Whether it has no bytes at all. Waits for the first."""
        while not self._pieces and not self._over and (more := await self.receive()) is not None:
            self.parse(more)
        return not self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                piece = b"".join(self._pieces)
                self._pieces.clear()
                self.size += len(piece)
                if self.size > self._longest:
                    raise too_large(self._longest)
                if self.size > self.at_most:
                    raise malformed()  # it has eaten its form's end
                yield piece
            elif (more := await self.receive()) is not None:
                self.parse(more)
            else:
                break
        if not self._ended or self.at_most - self.size not in (0, 2):
            raise malformed()

    def parse(self, data: bytes) -> None:
        # No file has its form's delimiter in it, and a parser that meets many takes four hundred times as long.
        if data.count(self._delimiter) > 1:
            raise malformed()
        super().parse(data)

    # What the parser finds

    def _part_begins(self) -> None:
        if self._begun:
            raise Problem("bad_request", f"Send one file at a time, and nothing but it, in the field {FIELD!r}.")

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise Problem("bad_request", f"Send one file at a time, and nothing but it, in the field {FIELD!r}.")
        self.claimed_name = options[b"filename"]
        self._begun = True

    def _part_data(self, data: bytes) -> None:
        self._pieces.append(data)

    def _part_ends(self) -> None:
        self._over = True


async def open_form_file(request: Request, longest: int, seconds: float) -> FormFile:
    """The file of the request's form, read as far as its name. `longest` is the most bytes it may have, `seconds` the
    time within which all of it has to come. Raises `Problem`."""
    boundary, length = form_of(request, longest + HEAD_BYTES)
    file = FormFile(request, boundary, length, longest, seconds)
    await file.read_head()
    return file


def form_of(request: Request, longest: int) -> tuple[bytes, int]:
    """Boundary and length of the form that a request brings, of at most `longest` bytes. Raises `Problem`."""
    kind, options = parse_options_header(request.headers.get("Content-Type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise Problem("bad_request", f"Send multipart/form-data, with one file in the field {FIELD!r}.", status=415)
    announced = request.headers.get("Content-Length", "")
    if not announced.isdecimal():
        raise Problem("bad_request", "Say with Content-Length how long the body is.", status=411, headers=_CLOSE)
    length = int(announced[:18])
    if length > longest:
        raise too_large(longest - HEAD_BYTES, _CLOSE if length > DISCARDED_BYTES else None)
    return boundary, length


def too_large(longest: int, headers: Mapping[str, str] | None = None) -> Problem:
    """A file has more bytes than it may."""
    return Problem("file_too_large", f"A file may have at most {longest:,} bytes.", headers=headers)


def malformed() -> Problem:
    """It is no whole form of the kind that was asked for."""
    return Problem("bad_request", f"The body is not a whole form with one file in the field {FIELD!r}.")
