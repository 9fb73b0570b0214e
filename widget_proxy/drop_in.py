"""The Chat API of Open Chat Studio under its own paths, for its own widget with this proxy as `api-base-url`.

Thin. The handle takes the place of the session token, or of the session's id for versions that know no token; polls
are answered from the log, and cost upstream what one stream would, however many there are.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from widget_proxy import official_api as official
from widget_proxy.attention import Attention
from widget_proxy.bodies import Participant, first_value, read_json
from widget_proxy.broker import Broker, BrokerUnavailable, Entry
from widget_proxy.browser_gate import Door
from widget_proxy.config import CurrentSettings, Settings, Site
from widget_proxy.drain import Drain
from widget_proxy.files import Files, attached
from widget_proxy.form_files import open_form_files
from widget_proxy.handles import AwaitedTask, ChatSession, HandleExpired, HandleInvalid, Handles
from widget_proxy.hub import Hub
from widget_proxy.official_api import Refusal, Refused, field_error
from widget_proxy.own_origin import shown_origin
from widget_proxy.page_context import PageContextError, has_controls, page_address, told_as_session_data, told_of_page
from widget_proxy.problems import Problem, from_upstream, unavailable
from widget_proxy.rates import Rates
from widget_proxy.sending import DRAIN_SHARE, check_message, message_context, send_message
from widget_proxy.stream import first_reading
from widget_proxy.upstream import UpstreamError, WidgetVersion
from widget_proxy.visitor_tokens import told_of_visitor

PREFIX = "/api/chat/"

NEW = timedelta(seconds=5)
"""For so long there is nothing to read in a session. The widget asks the moment it has one, sends its first message
meanwhile, and shows that twice if the answer is late enough to hold it."""

_NO_STORE = {"Cache-Control": "no-store"}

Endpoint = Callable[[Request], Awaitable[Response]]


def is_on(settings: Settings) -> bool:
    """Whether any site turned it on. Asked once, at the start."""
    return any(site.drop_in for site in settings.sites.values())


def doors(current: CurrentSettings) -> list[Door]:
    """Who may call this: pages of the sites that turned it on, with the headers the official widget sends. Its key is
    allowed and not read, so that a tag which still has one works. None where no site turned it on."""
    door = Door(
        PREFIX,
        lambda origin: any(site.drop_in and site.allows(origin) for site in current.settings.sites.values()),
        headers="Authorization, Content-Type, X-CSRFToken, X-Embed-Key, X-OCS-Widget-Version, X-Session-Token",
        exposed="Deprecation, Link, RateLimit, RateLimit-Policy, Retry-After, Sunset, X-Request-Id",
        answer=lambda problem, origin: _answer(official.NO_ORIGIN if origin is None else official.NOT_ALLOWED),
        takes_referer=True,
    )
    return [door] if is_on(current.settings) else []


class DropIn:
    """The five calls. `attention` knows whom the polls listen to; `refused` hears of what is turned away."""

    def __init__(
        self,
        current: CurrentSettings,
        handles: Handles,
        hub: Hub,
        broker: Broker,
        files: Files,
        attention: Attention,
        drain: Drain,
        rates: Rates,
        refused: Callable[[Scope, Problem], None] = lambda scope, problem: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._current = current
        self._handles = handles
        self._hub = hub
        self._broker = broker
        self._files = files
        self._attention = attention
        self._drain = drain
        self._rates = rates
        self._refused = refused
        self._now = now

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    def routes(self) -> list[Route]:
        """Every route; none where no site turned it on."""
        if not is_on(self._settings):
            return []
        return [
            Route(f"{PREFIX}start/", self._official(self.start), methods=["POST"]),
            Route(f"{PREFIX}{{session}}/message/", self._official(self.message), methods=["POST"]),
            Route(f"{PREFIX}{{session}}/upload/", self._official(self.upload), methods=["POST"]),
            Route(f"{PREFIX}{{session}}/poll/", self._official(self.poll), methods=["GET"]),
            Route(f"{PREFIX}{{session}}/{{task}}/poll/", self._official(self.task), methods=["GET"]),
        ]

    async def start(self, request: Request) -> Response:
        """Start a session on the site that has this chatbot and allows this page."""
        body = await _object(request, self._settings.server.body_bytes)
        site = self._site(body, request)
        origin = request.headers["Origin"]  # the gate saw that there is one
        claimed = Participant(
            id=_short_text(body, "participant_remote_id"), name=_short_text(body, "participant_name")
        )
        participant = told_of_visitor(None, claimed, site)
        context = _checked("page_context", body, lambda value: told_of_page(value, {}, site))
        data = _checked("session_data", body, lambda value: told_as_session_data(value, site))
        widget = WidgetVersion(request.headers.get("X-OCS-Widget-Version"))
        await self._rates.spend("starts", request, site.slug)
        with self._drain.within(DRAIN_SHARE):
            try:
                session, started, seed = await self._hub.start(
                    site,
                    origin=origin,
                    page_url=page_address(context or data, origin),
                    page_context=context,
                    participant_id=participant["id"],
                    participant_name=participant["name"],
                    session_data=data,
                    widget=widget,
                )
            except UpstreamError as error:
                raise Refused(_told(from_upstream(error, site.slug), widget)) from error
            answer = official.start_answer(
                session,
                self._handles.seal_session(session),
                widget.number,
                chatbot_id=str(site.chatbot_id),
                chatbot_name=started.chatbot_name,
                participant_id=participant["id"],
                seed_task=None if seed is None else seed.ref,
            )
            return JSONResponse(answer, 201, _NO_STORE | widget.told)
        raise unavailable()

    async def message(self, request: Request) -> Response:
        """Take a visitor's message. Like upstream, this sends it each time it is asked to."""
        session, site = self._session(request)
        body = await _object(request, self._settings.server.body_bytes)
        message = body.get("message")
        if message is None:
            null = "message" in body
            raise Refused(field_error("message", f"This field {'may not be null' if null else 'is required'}."))
        if not isinstance(message, str):
            raise Refused(field_error("message", "Not a valid string."))
        if not message.strip():
            raise Refused(field_error("message", "This field may not be blank."))
        if "\0" in message:
            raise Refused(field_error("message", "Null characters are not allowed."))
        message = check_message(message, site)
        context = self._context(body, site, session)
        files = attached(self._handles, session, site, _refs(body))
        widget = WidgetVersion(request.headers.get("X-OCS-Widget-Version"))
        await self._rates.spend("messages", request, session.site, session.key)
        try:
            task = await send_message(self._hub, self._drain, session, message, context, files, widget)
        except Problem as problem:
            raise Refused(_told(problem, widget)) from problem
        return JSONResponse({"task_id": task.ref, "status": "processing"}, 202, _NO_STORE | widget.told)

    async def upload(self, request: Request) -> Response:
        """Take the files of one form, one after another."""
        session, _ = self._session(request)

        async def take(site: Site) -> Response:
            limits, seconds = site.limits, self._settings.server.upload_seconds
            form = open_form_files(request, limits.file_bytes, seconds, limits.files)
            async with aclosing(form.files()) as files:
                taken = [await self._files.hand_on(request, session, site, file) async for file in files]
            if not taken:
                raise Refused(official.NO_FILES)
            return JSONResponse({"files": taken}, 201, _NO_STORE)

        return await self._files.within_bounds(request, session, take)

    async def poll(self, request: Request) -> Response:
        """What was said since a moment."""
        session, _ = self._session(request)
        since = official.parse_since(first_value(request.query_params, "since"))
        limit = official.parse_limit(first_value(request.query_params, "limit"))
        await self._listen(request, session)
        if self._now() - session.started > NEW:
            await first_reading(self._broker, session)
        told = official.poll_answer(await self._log(session), since, limit, self._public_url(request))
        return _answer(told)

    async def task(self, request: Request) -> Response:
        """How an answer is getting on."""
        session, _ = self._session(request)
        task = self._task(session, request.path_params["task"])
        await self._listen(request, session)
        log, url = await self._log(session), self._public_url(request)
        told = official.task_answer(log, task.ref, self._now(), url)
        if told is None:
            # Nothing is known of it yet, or no longer: somebody has to ask.
            await self._hub.await_answer(session, task)
            told = {"message": None, "status": "processing"}
        return _answer(told)

    # What was asked for, opened and checked

    def _site(self, body: Mapping[str, Any], request: Request) -> Site:
        if (given := body.get("chatbot_id")) is None:
            raise Refused(field_error("chatbot_id", "This field is required."))
        try:
            chatbot = UUID(str(given))
        except ValueError:
            raise Refused(Refusal(400, {"detail": "chatbot_id must be a valid UUID"})) from None
        sites = [one for one in self._settings.sites.values() if one.drop_in and one.chatbot_id == chatbot]
        if not sites:
            raise Refused(official.UNKNOWN_CHATBOT)
        allowed = [one for one in sites if one.allows(request.headers["Origin"])]
        if not allowed:
            raise Refused(official.NOT_ALLOWED)
        return allowed[0]

    def _session(self, request: Request) -> tuple[ChatSession, Site]:
        """The session that a request names and may use, by its token or by an id that is a handle."""
        named, token = request.path_params["session"], request.headers.get("X-Session-Token")
        if not _is_uuid(named) and named.count(".") != 2:
            raise Refused(official.NOT_FOUND)
        if token is None and _is_uuid(named):
            raise Refused(official.TOKEN_REQUIRED)
        try:
            session = self._handles.open_session(named if token is None else token)
        except HandleInvalid:
            raise Refused(official.TOKEN_INVALID) from None
        except HandleExpired:
            raise Refused(official.EXPIRED) from None
        site = self._settings.sites.get(session.site)
        if site is None or not site.drop_in or named not in {token or named, official.session_id(session)}:
            raise Refused(official.TOKEN_INVALID)
        if not site.allows(request.headers["Origin"]):
            raise Refused(official.NOT_ALLOWED)
        return session, site

    def _task(self, session: ChatSession, ref: str) -> AwaitedTask:
        try:
            return self._handles.open_task(session, ref)
        except HandleInvalid:
            raise Refused(official.NOT_FOUND) from None

    def _context(self, body: Mapping[str, Any], site: Site, session: ChatSession) -> dict[str, Any] | None:
        if "context" not in body or body["context"] == {}:
            return None  # upstream keeps the last one
        if not isinstance(body["context"], dict):
            null = body["context"] is None
            raise Refused(field_error("context", "This field may not be null." if null else "Expected a dictionary."))
        try:
            return message_context(body["context"], site, session)
        except Problem as problem:
            raise Refused(field_error("context", problem.detail)) from None

    async def _log(self, session: ChatSession) -> Sequence[Entry]:
        async with self._broker.subscribe(session.key, None) as subscription:
            return subscription.backlog

    def _official(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, with its errors in upstream's shapes."""

        async def serve(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refused as refused:
                return _answer(refused.refusal)
            except Problem as problem:
                self._refused(request.scope, problem)
                return _answer(official.refusal_of(problem))
            except BrokerUnavailable:
                return _answer(official.refusal_of(unavailable()))

        return serve

    async def _listen(self, request: Request, session: ChatSession) -> None:
        """This poll counts as listening. What it costs upstream is counted when that begins, as of a stream."""
        if not self._attention.attends(session):
            await self._rates.spend("streams", request, session.site, session.key)
        self._attention.attend(session)

    def _public_url(self, request: Request) -> str:
        return shown_origin(self._settings, request.scope) or ""


def _answer(told: Mapping[str, Any] | Refusal) -> Response:
    if isinstance(told, Refusal):
        return JSONResponse(dict(told.body), told.status, _NO_STORE | dict(told.headers))
    return JSONResponse(told, 200, _NO_STORE)


def _told(problem: Problem, widget: WidgetVersion) -> Refusal:
    refusal = official.refusal_of(problem)
    return Refusal(refusal.status, refusal.body, {**refusal.headers, **widget.told})


async def _object(request: Request, longest: int) -> dict[str, Any]:
    raw = await read_json(request, longest)
    try:
        body = from_json(raw)
    except ValueError:
        raise Refused(Refusal(400, {"detail": "JSON parse error: the body is not valid JSON."})) from None
    if not isinstance(body, dict):
        raise Refused(Refusal(400, {"detail": "JSON parse error: the body is no object."}))
    return body


def _short_text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused(field_error(name, "Not a valid string."))
    if not value:
        raise Refused(field_error(name, "This field may not be blank."))
    if len(value) > 255:
        raise Refused(field_error(name, "Ensure this field has no more than 255 characters."))
    if has_controls(value):
        raise Refused(field_error(name, "Control characters are not allowed."))
    return value


def _checked(
    name: str, body: Mapping[str, Any], check: Callable[[object], dict[str, Any] | None]
) -> dict[str, Any] | None:
    if body.get(name) is None:
        return None
    try:
        return check(body[name])
    except PageContextError as error:
        raise Refused(field_error(name, str(error))) from None


def _refs(body: Mapping[str, Any]) -> list[str]:
    refs = body.get("attachment_ids") or []
    if not isinstance(refs, list) or not all(isinstance(one, str) for one in refs):
        raise Problem("attachment_invalid", "One or more file IDs are invalid")
    return refs


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
