"""The Open Chat Studio client: the five Chat calls, typed results, and one tree of errors."""

from widget_proxy.upstream.answers import (
    Complete,
    Failed,
    MessagePage,
    Processing,
    Started,
    TaskState,
    UploadedFile,
)
from widget_proxy.upstream.client import Credentials, UpstreamClient
from widget_proxy.upstream.errors import (
    AnswerTooLarge,
    BadAnswer,
    ChatbotUnavailable,
    CredentialsRefused,
    FileRefused,
    RequestRefused,
    SessionEnded,
    SessionLost,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnreachable,
)
from widget_proxy.upstream.upload_form import Upload

__all__ = [
    "AnswerTooLarge",
    "BadAnswer",
    "ChatbotUnavailable",
    "Complete",
    "Credentials",
    "CredentialsRefused",
    "Failed",
    "FileRefused",
    "MessagePage",
    "Processing",
    "RequestRefused",
    "SessionEnded",
    "SessionLost",
    "Started",
    "TaskState",
    "Upload",
    "UploadedFile",
    "UpstreamBusy",
    "UpstreamClient",
    "UpstreamError",
    "UpstreamUnreachable",
]
