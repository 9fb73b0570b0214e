"""What can go wrong with upstream.

    UpstreamError
    ├── UpstreamUnreachable     no answer: refused, DNS, TLS, silence, reset
    ├── UpstreamBusy            429; `retry_after` seconds
    ├── BadAnswer               an answer that is none: HTML, 5xx, malformed, a redirect
    │   └── AnswerTooLarge      more bytes than are read
    ├── CredentialsRefused      the operator's fault: wrong key, unknown chatbot, origin not allowed
    ├── ChatbotUnavailable      switched off by its admin; `text` is theirs, for visitors
    ├── SessionLost             token expired or refused, or no such session: start anew
    ├── SessionEnded            it takes no more messages
    └── RequestRefused          upstream does not like what was sent; `detail` says what
        └── FileRefused         it is a file; `reason`: its size, its type, or no longer known

Each carries `fate`: whether upstream may have acted on the request all the same.
"""

from typing import Literal

Fate = Literal["not_sent", "unknown"]


class UpstreamError(Exception):
    """Base of all. The text is for the operator's log; visitors never read it. Upstream may have had a hand in it, so
    nothing in it ends a line or moves a terminal's cursor."""

    def __init__(self, text: str, *, fate: Fate = "not_sent") -> None:
        self.fate: Fate = fate
        super().__init__("".join(one if one.isprintable() else " " for one in text))


class UpstreamUnreachable(UpstreamError):
    """No answer came. `fate` is `not_sent` only where no connection was made."""


class UpstreamBusy(UpstreamError):
    """Upstream asks to wait. `retry_after` in seconds, None where it did not say. `for_all`: the whole address is
    meant, not one session or channel."""

    def __init__(self, text: str, retry_after: float | None, *, for_all: bool = True) -> None:
        self.retry_after = retry_after
        self.for_all = for_all
        super().__init__(text)


class BadAnswer(UpstreamError):
    """Upstream, or something before it, answered what this client cannot read."""


class AnswerTooLarge(BadAnswer):
    """It is longer than `upstream.answer_bytes`. Asked for less of a list, upstream may answer readably."""


class CredentialsRefused(UpstreamError):
    """The key, the chatbot id or the allowed domains are wrong. `status` is 401 for what was presented, 403 for what
    it may do: nothing was done."""

    def __init__(self, text: str, *, status: int = 401) -> None:
        self.status = status
        super().__init__(text)


class ChatbotUnavailable(UpstreamError):
    """The channel is switched off. `text` was written by its admin for visitors; may be empty."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__("the chatbot's channel is switched off")


class SessionLost(UpstreamError):
    """The session can no longer be used with what we hold."""


class SessionEnded(UpstreamError):
    """The session was ended and refuses messages."""


class RequestRefused(UpstreamError):
    """A 400, 404, 413 or 415 for what was sent. `detail` is upstream's sentence, not for visitors unlooked-at."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"{status}: {detail[:200]}")


class FileRefused(RequestRefused):
    """A file is too large, of a type upstream does not take, or one that it does not know (any more)."""

    def __init__(self, status: int, detail: str, reason: Literal["size", "type", "unknown"]) -> None:
        self.reason = reason
        super().__init__(status, detail)
