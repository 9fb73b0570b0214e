"""The form that a file goes up in: what it says beforehand, and that nothing breaks out of it."""

import re

import pytest

from tests.upstream_calls import CREDENTIALS, Upstream, pieces
from widget_proxy.upstream import (
    Upload,
)

pytestmark = pytest.mark.anyio


async def test_files_are_handed_over() -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt", "size": 2, "content_type": "text/plain"}]})
    file = await upstream.client.upload(CREDENTIALS, Upload("a.txt", "text/plain", pieces(b"h", b"i"), 4))
    assert (file.id, file.name) == (3, "a.txt")
    (request,) = upstream.requests
    boundary = request.headers["Content-Type"].removeprefix("multipart/form-data; boundary=")
    assert request.content.decode() == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\nhi\r\n--{boundary}--\r\n"
    )
    assert request.headers["Content-Length"] == str(len(request.content)), "said before all of it was there"
    assert "Transfer-Encoding" not in request.headers


@pytest.mark.parametrize("said", [2, 3, 4, 40])
async def test_a_file_shorter_than_was_said_is_followed_by_what_nobody_reads(said: int) -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt"}]})
    await upstream.client.upload(CREDENTIALS, Upload("a.txt", "text/plain", pieces(b"hi"), said))
    (request,) = upstream.requests
    assert request.headers["Content-Length"] == str(len(request.content))
    form = request.content.partition(b"\r\n\r\n")[2]
    assert re.fullmatch(rb"hi\r\n--[0-9a-f]{32}--[\r\n]*", form)


async def test_a_file_longer_than_was_said_is_a_mistake_of_ours() -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt"}]})
    with pytest.raises(ValueError, match="longer than 1 bytes"):
        await upstream.client.upload(CREDENTIALS, Upload("a.txt", "text/plain", pieces(b"hi"), 1))


async def test_a_name_breaks_out_of_no_header() -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt"}]})
    await upstream.client.upload(CREDENTIALS, Upload('a"\r\nX: y.txt', "text/plain", pieces(b"hi"), 2))
    assert b'filename="a%22%0D%0AX: y.txt"\r\n' in upstream.requests[0].content
