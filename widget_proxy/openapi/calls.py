"""The calls: what each takes, and every way it can answer."""

from collections.abc import Mapping

from widget_proxy.openapi.schemas import Schema
from widget_proxy.problems import CODES

_STATUSES: Mapping[str, tuple[int, ...]] = {
    "bad_request": (400,),
    "upstream_unreachable": (503, 504),
}
"""Of codes that come with more than one status, or another than their own; a call names further ones itself."""

_ANY_CALL = ("origin_not_allowed", "internal_error")
_WITH_HANDLE = ("handle_missing", "handle_invalid", "session_expired", "unavailable")
_FROM_UPSTREAM = (
    *("upstream_unreachable", "upstream_error", "upstream_busy"),
    *("misconfigured", "session_ended", "chatbot_unavailable"),
)
_TO_THE_TEAM = ("upstream_unreachable", "upstream_error", "upstream_busy", "misconfigured")


def paths() -> Schema:
    """By address and method."""
    handle: list[Schema] = [{"handle": []}]
    return {
        "/v1/sites/{site}": {
            "get": _call(
                "getSite",
                "Title, texts, look, limits and languages of a site",
                {
                    "200": _json("The site", "Site", etag=True),
                    "304": {"description": "It is as `If-None-Match` says"},
                },
                "unknown_site",
                parameters=[_site(), _header("If-None-Match", "An `ETag` of before")],
            )
        },
        "/v1/sites/{site}/sessions": {
            "post": _call(
                "startSession",
                "Start a session, with the page it starts on",
                {"201": _json("It is started", "Started")},
                *("unknown_site", "bad_request", "page_context_invalid", "page_context_too_large", "reserved_key"),
                *("visitor_token_invalid", "too_many_requests", "unavailable"),
                *_FROM_UPSTREAM,
                "session_expired",
                parameters=[_site()],
                body=_body("StartBody"),
                statuses=(408, 413, 415),
            )
        },
        "/v1/session/messages": {
            "post": _call(
                "sendMessage",
                "Send a message; its answer comes on the streams",
                {"202": _json("It is accepted, and its answer in the making", "Accepted")},
                *("bad_request", "message_empty", "message_too_long", "attachment_invalid", "file_too_large"),
                *("page_context_invalid", "page_context_too_large", "reserved_key", "visitor_token_invalid"),
                "too_many_requests",
                *_WITH_HANDLE,
                *_FROM_UPSTREAM,
                parameters=[
                    _header(
                        "Idempotency-Key",
                        "With the same key and message again, within 24 hours, it is sent once and answered alike",
                        {"type": "string", "pattern": "^[!-~]{1,200}$"},
                    )
                ],
                body=_body("MessageBody"),
                statuses=(408, 413, 415, 422),
                security=handle,
            ),
            "get": _call(
                "getMessages",
                "The transcript, for clients without a stream",
                {"200": _json("The messages after a place in it, oldest first", "Transcript")},
                "bad_request",
                *_WITH_HANDLE,
                parameters=[
                    _query("after", "The `cursor` of an answer before this one", {"type": "string"}),
                    _query("limit", "How many", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
                ],
                security=handle,
            ),
        },
        "/v1/session/files": {
            "post": _call(
                "uploadFile",
                "Upload one file, to be named in a message",
                {"201": _json("It is there", "Uploaded")},
                *("bad_request", "attachment_invalid", "file_too_large", "file_type_not_supported"),
                "too_many_requests",
                *_WITH_HANDLE,
                *_FROM_UPSTREAM,
                body={
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "properties": {"files": {"type": "string", "format": "binary"}},
                                "required": ["files"],
                            }
                        }
                    },
                },
                statuses=(408, 411, 413, 415),
                security=handle,
            )
        },
        "/v1/session/end": {
            "post": _call(
                "endSession",
                "End the conversation, where the site lets visitors; one that has ended stays so",
                {"204": {"description": "It has ended, and takes no more messages"}},
                *("not_found", "too_many_requests"),
                *_WITH_HANDLE,
                *_TO_THE_TEAM,
                security=handle,
            )
        },
        "/v1/session/feedback": {
            "post": _call(
                "rateMessage",
                "Put a thumb under a message, or take it back, where the site takes feedback",
                {"204": {"description": "It is kept"}},
                *("bad_request", "not_found", "too_many_requests"),
                *_WITH_HANDLE,
                *_TO_THE_TEAM,
                body=_body("FeedbackBody"),
                statuses=(408, 413, 415),
                security=handle,
            )
        },
        "/v1/session/events": {
            "get": _call(
                "streamSession",
                "The stream of the session, as Server-Sent Events, for as long as the client stays",
                {"200": _stream()},
                *("bad_request", "too_many_requests"),
                *_WITH_HANDLE,
                parameters=[
                    _header("Last-Event-ID", "The cursor to go on from; without it, the whole transcript"),
                    _query("task", "An answer still awaited", {"type": "array", "items": {"type": "string"}}),
                ],
                security=handle,
            )
        },
        "/v1/session/tasks/{task}/events": {
            "get": _call(
                "streamAnswer",
                "The stream of one answer; it ends with it",
                {"200": _stream()},
                *("bad_request", "too_many_requests"),
                *_WITH_HANDLE,
                parameters=[
                    {
                        "name": "task",
                        "in": "path",
                        "required": True,
                        "description": "What sending a message answered",
                        "schema": {"type": "string"},
                    }
                ],
                security=handle,
            )
        },
        "/v1/files/{ref}": {
            "get": _call(
                "downloadFile",
                "A file of a message, by the `url` it has there; no handle and no origin are asked for",
                {
                    "200": _file("The file, to be saved"),
                    "206": _file("The part that `Range` names"),
                    "416": {"description": "There is no such part"},
                },
                *("not_found", "session_expired", "too_many_requests", "unavailable"),
                *("upstream_unreachable", "upstream_error", "upstream_busy", "misconfigured"),
                parameters=[
                    {
                        "name": "ref",
                        "in": "path",
                        "required": True,
                        "description": "The last part of the `url`",
                        "schema": {"type": "string"},
                    },
                    _header("Range", "One part of it, such as `bytes=1000-`"),
                    _header("If-Range", "An `ETag` or a date of before"),
                ],
            )
        },
        "/healthz": {
            "get": {
                "operationId": "getHealth",
                "summary": "The process is alive",
                "responses": {"200": _json("It is", "Health"), **_answers_of(("internal_error",))},
            }
        },
        "/readyz": {
            "get": {
                "operationId": "getReadiness",
                "summary": "Whether visitors should be sent here, and why not",
                "responses": {
                    "200": _json("They should", "Readiness"),
                    "503": _json("They should not, or not yet", "Readiness"),
                    **_answers_of(("internal_error",)),
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "getMetrics",
                "summary": "Figures for Prometheus, where `server.metrics_token` is set",
                "security": [{"metrics": []}],
                "responses": {
                    "200": {
                        "description": "All of them",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    },
                    **_answers_of(("token_invalid", "not_found", "internal_error")),
                },
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "getDescription",
                "summary": "This document",
                "responses": {
                    "200": {"description": "It", "content": {"application/json": {"schema": {"type": "object"}}}},
                    **_answers_of(("internal_error",)),
                },
            }
        },
    }


def _call(
    name: str,
    summary: str,
    good: Schema,
    *codes: str,
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    statuses: tuple[int, ...] = (),
    security: list[Schema] | None = None,
) -> Schema:
    """One call. `statuses`: those `bad_request` comes with here, besides 400."""
    call: Schema = {"operationId": name, "summary": summary}
    if security is not None:
        call["security"] = security
    if parameters:
        call["parameters"] = parameters
    if body is not None:
        call["requestBody"] = body
    call["responses"] = {**good, **_answers_of((*codes, *_ANY_CALL), statuses)}
    return call


def _answers_of(codes: tuple[str, ...], statuses: tuple[int, ...] = ()) -> Schema:
    """The problems of a call, by status."""
    by_status: dict[int, set[str]] = {status: {"bad_request"} for status in statuses}
    for code in codes:
        for status in _STATUSES.get(code, (CODES[code][0],)):
            by_status.setdefault(status, set()).add(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in sorted(found)),
            "content": {
                "application/problem+json": {
                    "schema": {
                        "allOf": [
                            {"$ref": "#/components/schemas/Problem"},
                            {
                                "properties": {
                                    "status": {"const": status},
                                    "code": {"enum": sorted(found)},
                                }
                            },
                        ]
                    }
                }
            },
        }
        for status, found in sorted(by_status.items())
    }


def _json(description: str, schema: str, *, etag: bool = False) -> Schema:
    answer: Schema = {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
    if etag:
        answer["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return answer


def _file(description: str) -> Schema:
    return {"description": description, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}


def _stream() -> Schema:
    return {
        "description": "Events `message`, `progress`, `done`, `session`, `ready` and `notice`, each with one line of "
        "JSON as its data: the schemas `Message`, `Progress`, `Done`, `SessionStatus`, `Ready` and `Notice`. "
        "A message's id is the cursor.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }


def _body(schema: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _site() -> Schema:
    return {
        "name": "site",
        "in": "path",
        "required": True,
        "description": "The site's name in the configuration",
        "schema": {"type": "string"},
    }


def _header(name: str, description: str, schema: Schema | None = None) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema or {"type": "string"}}


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}
