"""How replies are read: each error answer is one of the tree, and what is none is no answer."""

from typing import Any

import pytest

from tests.fault_server import FaultServer
from tests.upstream_calls import CALLS, CREDENTIALS, HTML, PATIENT, STARTED, Upstream, whole
from widget_proxy.upstream import (
    BadAnswer,
    ChatbotUnavailable,
    Complete,
    CredentialsRefused,
    FileRefused,
    Processing,
    RequestRefused,
    SessionEnded,
    SessionLost,
    UpstreamClient,
    UpstreamError,
)

pytestmark = pytest.mark.anyio


ERRORS: list[tuple[str, int, Any, type[UpstreamError]]] = [
    ("start", 401, {"detail": "Invalid widget embed key"}, CredentialsRefused),
    ("start", 403, {"detail": "Origin not allowed"}, CredentialsRefused),
    ("start", 401, {"detail": "no", "code": "chat_access_denied"}, CredentialsRefused),
    ("start", 403, {"error": "On holiday"}, ChatbotUnavailable),
    ("start", 400, {"detail": "chatbot_id must be a valid UUID"}, RequestRefused),
    ("start", 400, {"participant_name": ["too long"]}, RequestRefused),
    ("start", 201, {"session_id": "../../x"}, BadAnswer),
    ("start", 201, STARTED | {"session_token": "a\r\nb"}, BadAnswer),
    ("start", 200, STARTED, BadAnswer),
    ("send", 403, {"error": "x", "code": "session_token_required"}, SessionLost),
    ("send", 403, {"error": "x", "code": "session_token_invalid"}, SessionLost),
    ("send", 403, {"error": "x", "code": "session_expired"}, SessionLost),
    ("send", 403, {"detail": "Session does not exist"}, SessionLost),
    ("send", 401, {"detail": "Invalid widget embed key"}, CredentialsRefused),
    ("send", 400, {"error": "Session has ended"}, SessionEnded),
    ("send", 400, {"message": ["This field may not be blank."]}, RequestRefused),
    ("send", 400, {"error": "One or more file IDs are invalid"}, FileRefused),
    ("send", 500, {"error": "Unknown error"}, BadAnswer),
    ("send", 202, {"task_id": "a/b"}, BadAnswer),
    ("send", 202, {"task_id": 7}, BadAnswer),
    ("poll_task", 404, {"detail": "Not found."}, RequestRefused),
    ("poll_task", 403, {"error": "x", "code": "session_expired"}, SessionLost),
    ("poll_task", 500, {"error": "Unknown error"}, BadAnswer),
    ("poll_task", 200, {"status": "odd"}, BadAnswer),
    ("poll_task", 200, {"status": "complete", "message": {"role": "robot"}}, BadAnswer),
    ("poll_messages", 400, {"error": "Invalid 'since' parameter format"}, RequestRefused),
    ("poll_messages", 200, {"messages": {}}, BadAnswer),
    ("poll_messages", 200, [], BadAnswer),
    ("upload", 400, {"error": "No files provided"}, RequestRefused),
    ("upload", 400, {"error": "File type '.exe' is not supported. Allowed types: .txt"}, FileRefused),
    ("upload", 400, {"error": "File 'a' exceeds maximum size of 50MB"}, FileRefused),
    ("upload", 400, {"error": "Total file size exceeds maximum of 50MB"}, FileRefused),
    ("upload", 413, {"detail": "Request body too large."}, FileRefused),
    ("upload", 400, {"error": "Session has ended"}, SessionEnded),
    ("upload", 403, {"error": "x", "code": "session_expired"}, SessionLost),
    ("upload", 201, {"files": []}, BadAnswer),
    ("upload", 201, {"files": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}, BadAnswer),
    ("upload", 201, {"files": [{"id": "../1", "name": "a"}]}, BadAnswer),
]


@pytest.mark.parametrize(("call", "status", "body", "kind"), ERRORS)
async def test_each_error_answer_is_its_own_kind(
    call: str, status: int, body: Any, kind: type[UpstreamError]
) -> None:
    with pytest.raises(kind) as error:
        await CALLS[call](Upstream(status, body).client)
    assert type(error.value) is kind
    assert error.value.fate == ("unknown" if kind is BadAnswer else "not_sent"), (
        "only a refusal says nothing happened"
    )


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 201, 202, 400, 403, 404, 500, 502, 503, 504])
async def test_html_is_never_an_answer(call: str, status: int) -> None:
    with pytest.raises((BadAnswer, CredentialsRefused)) as error:
        await CALLS[call](Upstream(status, *HTML).client)
    assert "<h1>" not in str(error.value)


async def test_a_413_is_about_the_file_whoever_says_it() -> None:
    with pytest.raises(FileRefused) as error:
        await CALLS["upload"](Upstream(413, *HTML).client)
    assert error.value.reason == "size"


async def test_odd_but_readable_answers_are_read() -> None:
    odd = [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b'{"status": "processing"}'), Processing(None)),
        (whole(b'{"status": "processing", "status": "complete", "message": null}'), Complete(None)),
        (whole(b' \n{"status": "processing", "unknown": {"deep": [1]}}\n'), Processing(None)),
        (whole(b'{"status": "complete"}', b"Content-Encoding: identity\r\n"), Complete(None)),
    ]
    for answer, state in odd:
        with FaultServer(answer) as server:
            async with UpstreamClient(server.url, PATIENT) as client:
                assert await client.poll_task(CREDENTIALS, "t-1") == state


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("call", CALLS)
async def test_a_server_error_leaves_the_fate_open(call: str, status: int) -> None:
    for answer in ((b"<h1>Oops</h1>", {"Content-Type": "text/html"}), ({"detail": "Oops"}, None), (b"", None)):
        with pytest.raises(BadAnswer) as error:
            await CALLS[call](Upstream(status, *answer).client)
        assert error.value.fate == "unknown"
