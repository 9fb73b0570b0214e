"""The calls of Open Chat Studio's API, each with what it sends, and its answer or one error of the tree."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
from pydantic import SecretStr

from widget_proxy.config import UpstreamSettings
from widget_proxy.messages import format_moment
from widget_proxy.upstream import answers
from widget_proxy.upstream.answers import Complete, Failed, MessagePage, Processing, Started, TaskState, UploadedFile
from widget_proxy.upstream.connection import Connection
from widget_proxy.upstream.credentials import Bearer, Credentials, Key, OAuthClient
from widget_proxy.upstream.errors import BadAnswer, ChatbotUnavailable, CredentialsRefused, FileRefused, UpstreamError
from widget_proxy.upstream.file_reply import FileReply
from widget_proxy.upstream.limits import Standing
from widget_proxy.upstream.replies import (
    Reply,
    error_code,
    error_text,
    parse,
    read_answer,
    refuse_ended,
    refuse_file,
    refuse_key,
    refuse_lost,
)
from widget_proxy.upstream.upload_form import OneFileForm, Upload
from widget_proxy.upstream.watch import Watch, asks, unwatched
from widget_proxy.upstream.widget_version import WidgetVersion


class UpstreamClient:
    """One upstream instance. Open it with `async with`; its connections are shared by every session."""

    def __init__(
        self,
        base_url: str,
        settings: UpstreamSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        watch: Watch = unwatched,
    ) -> None:
        self.base_url = base_url
        self.watch = watch
        self._settings = settings
        self._connection = Connection(base_url, settings, transport, clock)

    async def __aenter__(self) -> "UpstreamClient":
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._connection.__aexit__(*exception)

    def standing(self, bucket: str, now: float) -> Standing | None:
        """What upstream last said of a bucket: a session's, by its id, or of starts, by the chatbot's. `now` by
        the clock this client was given."""
        return self._connection.standing(bucket, now)

    @asks("start")
    async def start(
        self,
        *,
        chatbot_id: str,
        key: Key,
        origin: str,
        page_url: str,
        page_context: Mapping[str, Any] | None = None,
        participant_id: str | None = None,
        participant_name: str | None = None,
        session_data: Mapping[str, Any] | None = None,
        widget: WidgetVersion | None = None,
    ) -> Started:
        """Start a session. `origin` is the visitor's page's, already checked against the site's list; `page_url`
        is stored upstream as where the chat was embedded. `widget` is the version of a client that is not ours."""
        widget = widget or WidgetVersion(None)
        body: dict[str, Any] = {"chatbot_id": chatbot_id}
        if page_context:
            body["page_context"] = page_context
        if participant_id:
            body["participant_remote_id"] = participant_id
        if participant_name:
            body["participant_name"] = participant_name
        if session_data:
            body["session_data"] = session_data
        headers = {"Origin": origin, "Referer": page_url} | key.headers(origin) | widget.headers()
        reply = await self._connection.call(
            "POST", "/api/chat/start/", headers, bucket=chatbot_id, seconds=self._settings.send_seconds, json=body
        )
        widget.note(reply.headers)
        if reply.status == 403 and (text := error_text(reply, "error")) is not None and not error_code(reply):
            raise ChatbotUnavailable(text)
        refuse_key(reply, "start")
        answer = read_answer(reply, answers.START, 201)
        if answer.session_token is None and isinstance(key, Bearer):
            # The bearer is for starts alone; without a token there is nothing to go on with.
            raise BadAnswer("it started a session by OAuth and gave no session token", fate="unknown")
        return Started(
            session_id=answer.session_id,
            token=answer.session_token,
            chatbot_name=answer.chatbot.name,
            participant_id=answer.participant.remote_id or answer.participant.id or answer.participant.identifier,
            participant_name=answer.participant.name,
            seed_task_id=answer.seed_message_task_id,
        )

    @asks("token")
    async def fetch_bearer(self, oauth: OAuthClient) -> tuple[SecretStr, float]:
        """A new access token, and for how many seconds it is good."""
        form = {
            "grant_type": "client_credentials",
            "client_id": oauth.client_id,
            "client_secret": oauth.client_secret.get_secret_value(),
        } | ({"scope": oauth.scope} if oauth.scope else {})
        bucket = f"token {oauth.client_id}"
        reply = await self._connection.call(
            "POST", "/o/token/", {}, bucket=bucket, seconds=self._settings.send_seconds, data=form
        )
        if reply.status in {400, 401, 403} and (error := error_text(reply, "error")) is not None:
            raise CredentialsRefused(f"the token endpoint answered {reply.status}: {error}", status=reply.status)
        answer = read_answer(reply, answers.BEARER, 200)
        return answer.access_token, answer.expires_in

    @asks("message")
    async def send(
        self,
        credentials: Credentials,
        message: str,
        *,
        context: Mapping[str, Any] | None = None,
        attachment_ids: Sequence[int] = (),
        widget: WidgetVersion | None = None,
    ) -> str:
        """Send a visitor's message; the id of the task that makes its answer. Never tried twice: upstream has no
        idempotency, and an error's `fate` says whether the message may have arrived."""
        widget = widget or WidgetVersion(None)
        body: dict[str, Any] = {"message": message}
        if context is not None:
            body["context"] = context
        if attachment_ids:
            body["attachment_ids"] = list(attachment_ids)
        path = f"/api/chat/{credentials.session_id}/message/"
        headers = credentials.headers() | widget.headers()
        seconds = self._settings.send_seconds
        bucket = credentials.session_id
        reply = await self._connection.call("POST", path, headers, bucket=bucket, seconds=seconds, json=body)
        widget.note(reply.headers)
        refuse_lost(reply)
        refuse_ended(reply)
        if reply.status == 400 and error_text(reply, "error") == "One or more file IDs are invalid":
            raise FileRefused(400, "it does not know an attached file", "unknown")
        return read_answer(reply, answers.SEND, 202).task_id

    @asks("task_poll")
    async def poll_task(self, credentials: Credentials, task_id: str) -> TaskState:
        """Ask for an answer. An id upstream does not know is `Processing` for ever."""
        path = f"/api/chat/{credentials.session_id}/{task_id}/poll/"
        reply = await self._session_call("GET", path, credentials, self._settings.poll_seconds)
        refuse_lost(reply)
        if reply.status in {400, 500}:
            # A failed task answers 500 with a JSON status; an outage answers 500 with HTML or without one.
            failure = parse(reply, answers.TASK)
            if failure is None or failure.status != "error":
                raise BadAnswer(f"task poll answered {reply.status}", fate="unknown")
            return Failed(failure.error[:500] if reply.status == 400 and failure.error else None)
        answer = read_answer(reply, answers.TASK, 200)
        if answer.status == "complete":
            return Complete(answer.message.message() if answer.message else None)
        if answer.status == "error":
            return Failed(None)
        return Processing(answer.message.content if answer.message else None)

    @asks("message_poll")
    async def poll_messages(self, credentials: Credentials, since: datetime | None, limit: int) -> MessagePage:
        """Ask for the history after `since` (exclusive). Not more often than every 30 seconds a session."""
        params = {"limit": str(limit)}
        if since is not None:
            params["since"] = format_moment(since)
        path = f"/api/chat/{credentials.session_id}/poll/"
        reply = await self._session_call("GET", path, credentials, self._settings.poll_seconds, params=params)
        refuse_lost(reply)
        answer = read_answer(reply, answers.POLL, 200)
        return MessagePage(
            tuple(one.message() for one in answer.messages), answer.has_more, answer.session_status == "ended"
        )

    @asks("upload")
    async def upload(self, credentials: Credentials, file: Upload) -> UploadedFile:
        """Hand a file over; its id goes into a message. Nothing of it is kept here: each piece is asked for when the
        one before is on its way. Whatever `file.content` raises comes out as it is, and upstream is left with a
        request cut off."""
        content = OneFileForm(file, self._settings)
        headers = credentials.headers() | {
            "Content-Type": f"multipart/form-data; boundary={content.boundary}",
            # Said beforehand: Django under WSGI takes a body of unsaid length for none.
            "Content-Length": str(content.length),
        }
        path = f"/api/chat/{credentials.session_id}/upload/"
        request = self._connection.request("POST", path, headers, content=content)
        try:
            reply = await self._connection.send(request, content.limit, credentials.session_id)
        except UpstreamError:
            if content.failure is not None:
                raise content.failure from None
            raise
        refuse_lost(reply)
        refuse_ended(reply)
        refuse_file(reply)
        answer = read_answer(reply, answers.UPLOAD, 201)
        if len(answer.files) != 1:
            raise BadAnswer(f"it took {len(answer.files)} files instead of one", fate="unknown")
        (one,) = answer.files
        return UploadedFile(one.id, one.name, one.size, one.content_type)

    @asks("file")
    async def open_file(
        self, key: Key, file_id: str, method: str, headers: Mapping[str, str], bucket: str
    ) -> FileReply:
        """A file of the chatbot's team; `headers` say which part of it. The caller closes it."""
        path = f"/api/files/{file_id}/content"
        sent = dict(headers) | {"Accept": "*/*"} | key.headers("")
        request = self._connection.request(method, path, sent)
        reply = FileReply(await self._connection.open(request, self._settings.send_seconds, bucket))
        try:
            reply.check()
        except UpstreamError:
            await reply.aclose()
            raise
        return reply

    @asks("end")
    async def end_session(self, key: Key, session_id: str, bucket: str) -> None:
        """End a session, as the chatbot's team; one that has ended stays so. Its polls may go on to say `active`, and
        messages may still be taken: upstream keeps it for a review."""
        await self._team_call("POST", session_id, "end_experiment_session", key, bucket)

    @asks("tags")
    async def add_tags(self, key: Key, session_id: str, tags: Sequence[str], bucket: str) -> None:
        """Tag a session, as the chatbot's team. Tags that are new to the team are made, those it has stay."""
        await self._team_call("POST", session_id, "tags", key, bucket, {"tags": list(tags)})

    @asks("tags")
    async def remove_tags(self, key: Key, session_id: str, tags: Sequence[str], bucket: str) -> None:
        """Take tags from a session, as the chatbot's team; those it has not do no harm."""
        await self._team_call("DELETE", session_id, "tags", key, bucket, {"tags": list(tags)})

    @asks("state")
    async def replace_state(self, key: Key, session_id: str, state: Mapping[str, Any], bucket: str) -> None:
        """Set a session's state, as the chatbot's team. Upstream keeps nothing of what was there."""
        await self._team_call("PATCH", session_id, "update_state", key, bucket, {"state": dict(state)})

    async def _team_call(
        self, method: str, session_id: str, call: str, key: Key, bucket: str, body: Mapping[str, Any] | None = None
    ) -> None:
        path = f"/api/sessions/{session_id}/{call}/"
        seconds = self._settings.send_seconds
        reply = await self._connection.call(method, path, key.headers(""), bucket=bucket, seconds=seconds, json=body)
        refuse_key(reply, call)
        # What else it says is the team's: all tags, the whole state. To an end it says nothing at all.
        if reply.status != 200:
            read_answer(reply, answers.ERROR_BODY, 200)
        if reply.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise BadAnswer(f"{call} was answered with a page", fate="unknown")

    async def _session_call(
        self, method: str, path: str, credentials: Credentials, seconds: float, **content: Any
    ) -> Reply:
        bucket = credentials.session_id
        return await self._connection.call(
            method, path, credentials.headers(), bucket=bucket, seconds=seconds, **content
        )
