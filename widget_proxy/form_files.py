"""All files of a `multipart/form-data` body, one after another, as the official widget sends them: in one form, with
fields of its own behind them. Nothing of it is kept."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from widget_proxy.form_file import FIELD, HEAD_BYTES, FormReader, form_of, malformed, too_large
from widget_proxy.problems import Problem

MOST_FIELDS = 20
"""Fields beside the files; they are not read, and have `HEAD_BYTES` together."""

Found = tuple[Literal["file", "bytes", "end of file", "end of form"], bytes]


class FormFiles(FormReader):
    """The files of a form: at most `most`, each of at most `longest` bytes. Each step may raise `Problem`."""

    def __init__(
        self, request: Request, boundary: bytes, length: int, seconds: float, *, longest: int, most: int
    ) -> None:
        super().__init__(request, boundary, length, seconds)
        self.longest = longest
        self._most = most
        self._parts_left = most + MOST_FIELDS
        self._delimiter = b"\r\n--" + boundary
        self._of_fields = 0
        self._in_file = False
        self._found: deque[Found] = deque()

    async def files(self) -> "AsyncGenerator[PartFile]":
        """Each file. What is left of the one before is passed over."""
        taken = 0
        while (found := await self.next())[0] != "end of form":
            if found[0] == "file":
                if (taken := taken + 1) > self._most:
                    raise Problem("attachment_invalid", f"At most {self._most} files can be sent at once.")
                # What has come has been parsed: there is no more of this file than this.
                queued = sum(len(data) for kind, data in self._found if kind == "bytes")
                yield PartFile(self, found[1], min(self.left + queued, self.longest))

    async def peek(self) -> Found:
        """What comes next; it stays to be taken."""
        while not self._found:
            await self._read_more()
        return self._found[0]

    async def next(self) -> Found:
        """What comes next."""
        await self.peek()
        return self._found.popleft()

    async def _read_more(self) -> None:
        data = await self.receive()
        if not self._ended:
            if data is None:
                raise malformed()
            # A parser that meets many delimiters takes very long.
            self._parts_left -= data.count(self._delimiter)
            if self._parts_left < 0:
                raise malformed()
            self.parse(data)
        elif data is None:
            self._found.append(("end of form", b""))

    # What the parser finds

    def _part_begins(self) -> None:
        self._disposition = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._in_file = options.get(b"name") == FIELD.encode() and b"filename" in options
        if self._in_file:
            self._found.append(("file", options[b"filename"]))

    def _part_data(self, data: bytes) -> None:
        if self._in_file:
            self._found.append(("bytes", data))
            return
        self._of_fields += len(data)
        if self._of_fields > HEAD_BYTES:
            raise malformed()

    def _part_ends(self) -> None:
        if self._in_file:
            self._found.append(("end of file", b""))
        self._in_file = False


class PartFile:
    """One of them. `claimed_name` is what its sender calls it, `at_most` how many bytes it can have, `size` how many
    came. Iterate for its bytes, once."""

    def __init__(self, form: FormFiles, claimed_name: bytes, at_most: int) -> None:
        self.claimed_name = claimed_name
        self.at_most = at_most
        self.size = 0
        self._form = form

    async def is_empty(self) -> bool:
        """Whether it has no bytes at all. Waits for the first."""
        return (await self._form.peek())[0] != "bytes"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            kind, data = await self._form.next()
            if kind == "end of file":
                return
            self.size += len(data)
            if self.size > self._form.longest:
                raise too_large(self._form.longest)
            yield data


def open_form_files(request: Request, longest: int, seconds: float, most: int) -> FormFiles:
    """The form that a request brings. `longest` is the most bytes one of its files may have, `most` how many they may
    be, `seconds` the time within which all of it has to come. Raises `Problem`."""
    boundary, length = form_of(request, most * longest + HEAD_BYTES)
    return FormFiles(request, boundary, length, seconds, longest=longest, most=most)
