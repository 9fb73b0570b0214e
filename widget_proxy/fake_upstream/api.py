"""The Chat API itself. Each endpoint answers with upstream's own shapes, its five shapes of errors among them."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from widget_proxy.fake_upstream.access import Access
from widget_proxy.fake_upstream.bot import answer
from widget_proxy.fake_upstream.calls import CRASH, NOT_FOUND, Call, Refused
from widget_proxy.fake_upstream.faults import Broken, Dripping, Faults
from widget_proxy.fake_upstream.file_content import file_answer
from widget_proxy.fake_upstream.ledger import Ledger, Request
from widget_proxy.fake_upstream.limits import Standing, Windows
from widget_proxy.fake_upstream.settings import FakeUpstreamSettings
from widget_proxy.fake_upstream.state import Plan, World, moment
from widget_proxy.fake_upstream.team_calls import TeamCalls

UPLOAD_BYTES = 50 * 1024 * 1024
FILE_TYPES = [
    ".txt",
    ".pdf",
    ".doc",
    ".docx",
    ".xls",
    ".xlsx",
    ".csv",
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".webp",
    ".mp4",
    ".mov",
    ".avi",
    ".mp3",
    ".wav",
    ".html",
    ".htm",
    ".css",
    ".js",
    ".xml",
    ".md",
    ".ics",
    ".vcf",
    ".rtf",
    ".tsv",
    ".yaml",
    ".yml",
    ".py",
    ".c",
]

Endpoint = Callable[["Call"], Awaitable[Response]]


class ChatApi:
    """The routes, over one world."""

    def __init__(self, settings: FakeUpstreamSettings) -> None:
        self.settings = settings
        self.world = World(settings)
        self._access = Access(settings, self.world)
        self.ledger = Ledger()
        self.faults = Faults()
        self._windows = Windows(settings.window_seconds)

    def routes(self) -> list[Route]:
        """Every route of the API, and the HTML page for all else."""
        return [
            Route("/api/chat/start/", self._endpoint("start", self._start), methods=["POST"]),
            Route("/api/chat/{session}/message/", self._endpoint("message", self._message), methods=["POST"]),
            Route("/api/chat/{session}/upload/", self._endpoint("upload", self._upload), methods=["POST"]),
            Route("/api/chat/{session}/poll/", self._endpoint("message_poll", self._messages), methods=["GET"]),
            Route("/api/chat/{session}/{task}/poll/", self._endpoint("task_poll", self._task), methods=["GET"]),
            Route("/api/files/{file}/content", self._endpoint("file", self._file), methods=["GET"]),
            *self._of_the_team(),
            Route("/o/token/", self._endpoint("token", self._access.token), methods=["POST"]),
            Route("/{path:path}", self._endpoint("other", self._nothing), methods=["GET", "POST", "PUT", "DELETE"]),
        ]

    def _of_the_team(self) -> list[Route]:
        calls = TeamCalls(self._access)
        path = "/api/sessions/{session}"
        return [
            Route(f"{path}/end_experiment_session/", self._endpoint("end", calls.end), methods=["POST"]),
            Route(f"{path}/tags/", self._endpoint("tags", calls.tags), methods=["POST", "DELETE"]),
            Route(f"{path}/update_state/", self._endpoint("state", calls.state), methods=["PATCH"]),
        ]

    def reset_limits(self) -> None:
        """Nothing was asked in this window yet."""
        self._windows.reset()

    def reset(self) -> None:
        """As new."""
        self.world.reset()
        self.ledger.clear()
        self.faults.ordered.clear()
        self._windows.reset()

    def _endpoint(self, kind: str, endpoint: Endpoint) -> Callable[[HttpRequest], Awaitable[ASGIApp]]:
        async def serve(http: HttpRequest) -> ASGIApp:
            raw = b"" if kind == "upload" else await http.body()
            call = Call(http, raw, kind)
            fault = self.faults.take(kind, call.session_id)
            if fault is not None and fault.fault in {"delay", "hang"}:
                await self.settings.sleep(fault.seconds)
            if fault is None or fault.fault in {"delay", "close_after_accept"}:
                try:
                    response: ASGIApp = await self._answer(call, endpoint)
                except ClientDisconnect:
                    self._note(call, 0)
                    raise
            if fault is not None and fault.fault == "status":
                headers = {"Content-Type": fault.content_type} | fault.headers
                response = Response(fault.body, fault.status, headers)
            elif fault is not None and fault.fault == "drip":
                response = Dripping(fault, self.settings.sleep)
            elif fault is not None and fault.fault != "delay":
                response = Broken(fault)
            self._note(call, response.status_code if isinstance(response, Response) else 0)
            return response

        return serve

    async def _answer(self, call: Call, endpoint: Endpoint) -> Response:
        standing = self._count(call)
        if self.settings.enforce_limits and standing.exceeded:
            response: Response = JSONResponse({"detail": "Rate limit exceeded.", "available_in": standing.reset}, 429)
        else:
            try:
                response = await endpoint(call)
            except Refused as refused:
                response = refused.response
        response.headers.update(standing.headers() if self.settings.enforce_limits else _calm(standing))
        response.set_cookie("ocs_language", "en")
        if call.headers.get("x-ocs-widget-version") in self.settings.deprecated_widget_versions:
            response.headers["Deprecation"] = "true"
            response.headers["Sunset"] = "Wed, 31 Mar 2027 00:00:00 GMT"
            response.headers["Link"] = '<https://upstream.invalid/docs/widget>; rel="successor-version"'
        return response

    def _count(self, call: Call) -> Standing:
        now = self.settings.clock()
        if call.session_id is not None:
            standing = self._windows.count(f"session {call.session_id}", self.settings.session_limit, now)
        else:
            chatbot = call.body.get("chatbot_id") if isinstance(call.body, dict) else None
            standing = self._windows.count(f"{call.kind} {chatbot}", self.settings.start_limit, now)
        host = self._windows.count("host", self.settings.host_limit, now)
        if host.exceeded and self.settings.enforce_limits:
            return replace(host, told=False)
        return standing

    def _note(self, call: Call, status: int) -> None:
        self.ledger.write(
            Request(
                at=self.settings.clock(),
                kind=call.kind,
                session=call.session_id,
                task=call.task_id,
                method=call.http.method,
                path=call.http.url.path,
                query=call.http.url.query,
                headers=call.headers,
                body=call.body,
                status=status,
            )
        )

    # Calls

    async def _start(self, call: Call) -> Response:
        body = call.object()
        chatbot_id = body.get("chatbot_id")
        if chatbot_id is None:
            raise Refused(400, {"chatbot_id": ["This field is required."]})
        try:
            UUID(str(chatbot_id))
        except ValueError:
            raise Refused(400, {"detail": "chatbot_id must be a valid UUID"}) from None
        channel = self._access.channel(call, str(chatbot_id))
        if not channel.enabled:
            raise Refused(403, {"error": channel.disabled_text})
        for field in ("participant_remote_id", "participant_name"):
            value = body.get(field)
            if value == "":
                raise Refused(400, {field: ["This field may not be blank."]})
            if isinstance(value, str) and len(value) > 255:
                return HTMLResponse(CRASH, 500)
        if "page_context" in (body.get("session_data") or {}):
            raise Refused(
                400, {"session_data": ["'page_context' is a reserved key; use the page_context parameter."]}
            )
        session = self.world.start(channel, body, call.headers)
        remote = body.get("participant_remote_id")
        answered: dict[str, Any] = {
            "session_id": session.id,
            "session_token": session.token,
            "chatbot": {
                "id": channel.chatbot_id,
                "name": channel.name,
                "url": f"http://upstream.invalid/api/experiments/{channel.chatbot_id}/",
                "version_number": 1,
                "versions": [],
            },
            "participant": {"identifier": f"anon:{session.id[:8]}", "remote_id": remote},
        }
        if channel.seed_message is not None:
            plan = Plan(channel.seed_message, self.settings.think_seconds)
            answered["seed_message_task_id"] = self.world.ask(session, None, plan, []).id
        return JSONResponse(answered, 201)

    async def _message(self, call: Call) -> Response:
        session = self._access.session(call)
        body = call.object()
        text = body.get("message")
        if text is None:
            raise Refused(
                400,
                {"message": ["This field is required." if "message" not in body else "This field may not be null."]},
            )
        if not isinstance(text, str):
            raise Refused(400, {"message": ["Not a valid string."]})
        if not text.strip():
            raise Refused(400, {"message": ["This field may not be blank."]})
        if "\0" in text:
            raise Refused(400, {"message": ["Null characters are not allowed."]})
        if "context" in body and not isinstance(body["context"], dict):
            raise Refused(
                400,
                {"context": ["This field may not be null." if body["context"] is None else "Expected a dictionary."]},
            )
        if session.has_ended(self.settings.clock()):
            raise Refused(400, {"error": "Session has ended"})
        if not session.channel.enabled:
            raise Refused(500, {"error": "Unknown error"})
        attachments = body.get("attachment_ids") or []
        known = self.world.files
        strange = any(one not in known or known[one].session_id != session.id for one in attachments)
        if strange or len(set(attachments)) < len(attachments):
            raise Refused(400, {"error": "One or more file IDs are invalid"})
        if body.get("context"):
            session.state["remote_context"] = body["context"]
        plan = self.world.plan_for(session)
        if plan is None:
            page = session.state.get("remote_context") or session.state.get("page_context") or {}
            plan = answer(text, page, self.settings.think_seconds)
        task = self.world.ask(session, text, plan, attachments)
        return JSONResponse({"task_id": task.id, "status": "processing"}, 202)

    async def _task(self, call: Call) -> Response:
        session = self._access.session(call)
        now = self.settings.clock()
        task = session.tasks.get(call.task_id or "")
        if task is None:
            if any(call.task_id in other.tasks for other in self.world.sessions.values()):
                raise Refused(404, {"detail": "Not found."})
            return JSONResponse({"message": None, "status": "processing"})
        if not session.channel.enabled:
            raise Refused(500, {"error": "Unknown error"})
        if now < task.ready or task.plan.outcome == "lost":
            text = task.progress(now)
            return JSONResponse({"message": _unsaved(text, now) if text else None, "status": "processing"})
        match task.plan.outcome:
            case "fail":
                raise Refused(500, {"error": "An unexpected error occurred", "status": "error"})
            case "refuse":
                raise Refused(400, {"error": task.plan.text, "status": "error"})
            case "unsaved":
                return JSONResponse({"message": _unsaved(task.plan.text, now), "status": "complete"})
            case _:
                return JSONResponse({"message": task.row.json() if task.row else None, "status": "complete"})

    async def _messages(self, call: Call) -> Response:
        session = self._access.session(call)
        query = call.http.query_params
        try:
            limit = int(query.get("limit", "50"))
        except ValueError:
            return HTMLResponse(CRASH, 500)
        rows = session.visible_rows(self.settings.clock())
        if since := query.get("since"):
            try:
                after = datetime.fromisoformat(since)
            except ValueError:
                raise Refused(400, {"error": "Invalid 'since' parameter format"}) from None
            begin = (after if after.tzinfo else after.replace(tzinfo=UTC)).timestamp()
            rows = [row for row in rows if round(row.created, 6) > round(begin, 6)]
        page = rows[:limit]
        return JSONResponse(
            {
                "messages": [row.json() for row in page],
                "has_more": len(rows) > len(page),
                "session_status": "ended" if session.has_ended(self.settings.clock()) else "active",
            }
        )

    async def _upload(self, call: Call) -> Response:
        session = self._access.session(call)
        if session.has_ended(self.settings.clock()):
            raise Refused(400, {"error": "Session has ended"})
        if "content-length" not in call.headers:
            # It is Django under WSGI: a body of unsaid length is none.
            raise Refused(400, {"error": "No files provided"})
        async with call.http.form(max_files=100) as form:
            files = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
            if not files:
                raise Refused(400, {"error": "No files provided"})
            for file in files:
                name, kind = file.filename or "", file.content_type or ""
                ending = "." + name.rpartition(".")[2].lower() if "." in name else ""
                # The client's claim is all that is looked at.
                if ending not in FILE_TYPES and not kind.startswith("text/"):
                    allowed = ", ".join(FILE_TYPES)
                    raise Refused(400, {"error": f"File type '{ending}' is not supported. Allowed types: {allowed}"})
                if (file.size or 0) > UPLOAD_BYTES:
                    raise Refused(400, {"error": f"File '{name}' exceeds maximum size of 50MB"})
            if sum(file.size or 0 for file in files) > UPLOAD_BYTES:
                raise Refused(400, {"error": "Total file size exceeds maximum of 50MB"})
            stored = [
                self.world.store_file(session, file.filename or "file", file.size or 0, file.content_type or "")
                for file in files
            ]
            # For whoever looks into the ledger: what came, byte for byte.
            digests = [await _digest(file) for file in files]
        answered = [one.json() for one in stored]
        call.body = {"files": [one | {"sha256": digest} for one, digest in zip(answered, digests, strict=True)]}
        return JSONResponse({"files": answered}, 201)

    async def _file(self, call: Call) -> Response:
        self._access.team(call)
        number = call.http.path_params["file"]
        file = self.world.files.get(int(number)) if number.isdigit() else None
        if file is None:
            raise Refused(404, {"detail": "Not found."})
        return file_answer(call, file)

    async def _nothing(self, call: Call) -> Response:
        return HTMLResponse(NOT_FOUND, 404)


async def _digest(file: UploadFile) -> str:
    digest = hashlib.sha256()
    while piece := await file.read(65_536):
        digest.update(piece)
    return digest.hexdigest()


def _unsaved(text: str, now: float) -> dict[str, Any]:
    """A message that is stored nowhere: its moment is that of the poll."""
    return {
        "created_at": moment(now),
        "role": "assistant",
        "content": text,
        "metadata": {},
        "tags": [],
        "attachments": [],
    }


def _calm(standing: Standing) -> dict[str, str]:
    """Headers while limits are not enforced: never exceeded."""
    return Standing(standing.limit, standing.remaining, standing.reset, exceeded=False).headers()
