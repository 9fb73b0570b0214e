"""The bytes of a file: as many as it had, by position, so that a part of it can be told from another."""

import re
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from widget_proxy.fake_upstream.calls import Call
from widget_proxy.fake_upstream.state import StoredFile

PIECE = 65_536
_PATTERN = bytes(range(256)) * (PIECE // 256 + 1)


def content(begin: int, end: int) -> bytes:
    """Bytes `begin` to `end` (exclusive) of any file."""
    first = begin % 256
    whole = _PATTERN if end - begin <= PIECE else _PATTERN * ((end - begin) // PIECE + 1)
    return whole[first : first + end - begin]


def file_answer(call: Call, file: StoredFile) -> Response:
    """The file, or the part of it that is asked for."""
    etag = f'"file-{file.id}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag}
    begin, end, status = 0, file.size, 200
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", ""))
    if asked is not None and call.headers.get("if-range", etag) == etag:
        begin = int(asked[1])
        end = min(file.size, int(asked[2]) + 1) if asked[2] else file.size
        if begin >= end:
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{file.size}"})
        status, headers["Content-Range"] = 206, f"bytes {begin}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - begin)
    if call.http.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.content_type)

    async def pieces() -> AsyncIterator[bytes]:
        for position in range(begin, end, PIECE):
            yield content(position, min(position + PIECE, end))

    return StreamingResponse(pieces(), status, headers, file.content_type)
