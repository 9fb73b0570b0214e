"""The Open Chat Studio client: its calls, what lets them in, typed results, and one tree of errors."""

from widget_proxy.upstream.answers import (
    Complete,
    Failed,
    MessagePage,
    Processing,
    Started,
    TaskState,
    UploadedFile,
)
from widget_proxy.upstream.client import UpstreamClient
from widget_proxy.upstream.credentials import (
    ApiKey,
    Bearer,
    Credentials,
    EmbedKey,
    Key,
    OAuthClient,
    session_credentials,
    start_credential,
    team_credential,
)
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
from widget_proxy.upstream.widget_version import WidgetVersion

__all__ = [
    "AnswerTooLarge",
    "ApiKey",
    "BadAnswer",
    "Bearer",
    "ChatbotUnavailable",
    "Complete",
    "Credentials",
    "CredentialsRefused",
    "EmbedKey",
    "Failed",
    "FileRefused",
    "Key",
    "MessagePage",
    "OAuthClient",
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
    "WidgetVersion",
    "session_credentials",
    "start_credential",
    "team_credential",
]
