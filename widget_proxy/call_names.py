"""What a request asks for, in one word of a few: for figures and traces, where no address may be."""

from starlette.types import Scope

CALLS = (
    "start",
    "message",
    "transcript",
    "stream",
    "answer_stream",
    "upload",
    "end",
    "feedback",
    "site",
    "site",
    "file",
    "poll",
    "page",
)


def call_of(scope: Scope) -> str:
    """One of `CALLS`. The official widget's have the names of ours, and `poll`; `page` is everything else."""
    parts = scope["path"].split("/")
    match parts[1:]:
        case ["v1", "sites", _]:
            return "site"
        case ["v1", "sites", _, "sessions"]:
            return "start"
        case ["v1", "session", "messages"]:
            return "message" if scope["method"] == "POST" else "transcript"
        case ["v1", "session", "events"]:
            return "stream"
        case ["v1", "session", "tasks", _, "events"]:
            return "answer_stream"
        case ["v1", "files", _]:
            return "file"
        case ["v1", "session", "files"]:
            return "upload"
        case ["v1", "session", "end"]:
            return "end"
        case ["v1", "session", "feedback"]:
            return "feedback"
        case ["api", "chat", "start", ""]:
            return "start"
        case ["api", "chat", _, "message", ""]:
            return "message"
        case ["api", "chat", _, "upload", ""]:
            return "upload"
        case ["api", "chat", *_, "poll", ""]:
            return "poll"
        case _:
            return "page"
