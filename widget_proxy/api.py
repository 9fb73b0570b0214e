"""`v1`: thin. An endpoint checks what came, asks the hub, and answers; it never waits for the bot."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from widget_proxy.bodies import MessageBody, StartBody, first_value, read_body
from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.config import CurrentSettings, Settings, Site
from widget_proxy.drain import Drain
from widget_proxy.files import attached, attachment_limits
from widget_proxy.handles import AwaitedTask, ChatSession, HandleExpired, HandleInvalid, Handles
from widget_proxy.hub import Hub
from widget_proxy.hub.team import PAGE_SECONDS
from widget_proxy.hub.turns import SEND_PATIENCE
from widget_proxy.messages import format_moment
from widget_proxy.own_origin import chat_origin
from widget_proxy.page_context import PageContextError, page_address, told_as_session_data, told_of_page
from widget_proxy.problems import Problem, from_upstream, unavailable
from widget_proxy.rates import Rates
from widget_proxy.sending import DRAIN_SHARE, check_message, message_context, send_message, unknown_fate
from widget_proxy.stream import Streams, first_reading, to_replay
from widget_proxy.upstream import UpstreamError
from widget_proxy.visitor_tokens import Visitor, VisitorTokenInvalid, read_token, told_of_visitor, visitor_key

logger = logging.getLogger(__name__)

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_CURSOR = re.compile(r"[A-Za-z0-9-]{1,64}")

MOST_TASKS = 20
"""Answers one reader may await at once."""

TRANSCRIPT_PAGE = 100
LONGEST_TRANSCRIPT_PAGE = 500

_NO_STORE = {"Cache-Control": "no-store"}


class Api:
    """The endpoints of `v1`."""

    def __init__(
        self,
        current: CurrentSettings,
        handles: Handles,
        hub: Hub,
        broker: Broker,
        streams: Streams,
        drain: Drain,
        rates: Rates,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._current = current
        self._handles = handles
        self._hub = hub
        self._broker = broker
        self._streams = streams
        self._drain = drain
        self._rates = rates
        self._now = now
        # A send may tell of its page first; it waits for its turn, then for upstream; after that whoever sent it is
        # gone.
        self._send_seconds = PAGE_SECONDS + current.settings.upstream.send_seconds + SEND_PATIENCE + 2.0

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    def routes(self) -> list[Route]:
        """Every route of `v1`."""
        return [
            Route("/v1/sites/{site}", self.site, methods=["GET"]),
            Route("/v1/sites/{site}/sessions", self.start, methods=["POST"]),
            Route("/v1/session/messages", self.messages, methods=["GET", "POST"]),
            Route("/v1/session/events", self.events, methods=["GET"]),
            Route("/v1/session/tasks/{task}/events", self.task_events, methods=["GET"]),
        ]

    async def site(self, request: Request) -> Response:
        """What the widget needs to know of a site. No secret, no chatbot id."""
        content = json.dumps(about(self._site(request)), ensure_ascii=False, separators=(",", ":")).encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        headers = {"Cache-Control": "public, max-age=60", "ETag": etag}
        if etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    async def start(self, request: Request) -> Response:
        """Start a session, with the page it starts on."""
        site = self._site(request)
        origin = request.headers["Origin"]  # the gate saw that there is one
        body = await read_body(request, StartBody, self._settings.server.body_bytes)
        visitor = self._visitor(body.visitor_token, site)
        if visitor is None and site.takes_tokens == "required":
            raise Problem("visitor_token_invalid", "This site needs a visitor token. Please reload the page.")
        signed = {} if visitor is None else visitor.page_context
        try:
            context = told_of_page(body.page_context, signed, site)
            data = None if body.session_data is None else told_as_session_data(body.session_data, site)
        except PageContextError as error:
            raise Problem(error.code, str(error)) from None
        participant = told_of_visitor(visitor, body.participant, site)
        await self._rates.spend("starts", request, site.slug)
        started = None
        with self._drain.within(DRAIN_SHARE):
            try:
                session, started, seed = await self._hub.start(
                    site,
                    origin=origin,
                    page_url=page_address(context, origin),
                    page_context=context,
                    participant_id=participant["id"],
                    participant_name=participant["name"],
                    session_data=data,
                )
            except UpstreamError as error:
                raise from_upstream(error, site.slug) from error
        if started is None:
            raise unavailable()
        if visitor is not None:
            session = replace(session, visitor=visitor_key(site.slug, visitor.id), signed_context=signed)
        answer: dict[str, Any] = {
            "handle": self._handles.seal_session(session),
            "expires_at": format_moment(session.expires),
            "chatbot": {"name": started.chatbot_name},
            "participant": participant,
        }
        if seed is not None:
            answer["task"] = seed.ref
        return JSONResponse(answer, 201, _NO_STORE)

    async def messages(self, request: Request) -> Response:
        """The transcript to read, or a message to send: one route, so that a 405 names both methods."""
        return await (self.send(request) if request.method == "POST" else self.transcript(request))

    async def send(self, request: Request) -> Response:
        """Take a visitor's message. A repeated `Idempotency-Key` is the same message, sent once."""
        session = self.session_of(request)
        site = self._settings.sites[session.site]
        body = await read_body(request, MessageBody, self._settings.server.body_bytes)
        message = check_message(body.message, site)
        files = attached(self._handles, session, site, body.attachments)
        visitor = self._visitor(body.visitor_token, site, session)
        signed = None if visitor is None else visitor.page_context
        context = message_context(body.page_context, site, session, signed)
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return JSONResponse(await self._send(request, session, message, context, files), 202, _NO_STORE)
        if _IDEMPOTENCY_KEY.fullmatch(key) is None:
            raise Problem("bad_request", "Idempotency-Key has 1 to 200 printable ASCII characters, such as a UUID.")
        # Without the page context: who tries again may have walked on to another page.
        fingerprint = hashlib.sha256(json.dumps([message, files]).encode()).hexdigest()
        return await self._send_once(request, session, message, context, files, key, fingerprint)

    async def transcript(self, request: Request) -> Response:
        """The messages so far, for clients without a stream."""
        session = self.session_of(request)
        after = self._cursor(first_value(request.query_params, "after"))
        asked = first_value(request.query_params, "limit") or str(TRANSCRIPT_PAGE)
        # More digits cannot be one, and a few thousand Python refuses to read.
        limit = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
        if not 1 <= limit <= LONGEST_TRANSCRIPT_PAGE:
            raise Problem("bad_request", f"limit is a number from 1 to {LONGEST_TRANSCRIPT_PAGE}.")
        await self._rates.spend("streams", request, session.site, session.key)
        async with self._hub.watch(session):
            await first_reading(self._broker, session)
            async with self._broker.subscribe(session.key, after) as subscription:
                entries = to_replay(subscription.backlog, subscription.replay_from, ())
        messages = [entry for entry in entries if entry.event.name == "message"]
        status = next((entry.event.data["status"] for entry in entries if entry.event.name == "session"), "active")
        page = messages[:limit]
        answer = {
            # Found in order of arrival, told in order of speaking: a visitor's own row comes after its quick answer.
            "messages": sorted((entry.event.data for entry in page), key=lambda data: data["created_at"] or ""),
            "cursor": page[-1].cursor if page else after,
            "has_more": len(messages) > len(page),
            "session": {"status": status},
        }
        return JSONResponse(answer, 200, _NO_STORE)

    async def events(self, request: Request) -> Response:
        """The stream of the session."""
        session = self.session_of(request)
        refs = request.query_params.getlist("task")
        if len(refs) > MOST_TASKS:
            raise Problem("bad_request", f"At most {MOST_TASKS} answers can be awaited at once.")
        tasks = [self._task(session, ref) for ref in dict.fromkeys(refs)]
        cursor = self._cursor(request.headers.get("Last-Event-ID"))
        await self._rates.spend("streams", request, session.site, session.key)
        return self._streams.session(session, cursor, tasks)

    async def task_events(self, request: Request) -> Response:
        """The stream of one answer."""
        session = self.session_of(request)
        task = self._task(session, request.path_params["task"])
        await self._rates.spend("streams", request, session.site, session.key)
        return self._streams.task(session, task)

    # What was asked for, opened and checked

    def _site(self, request: Request) -> Site:
        site = self._settings.sites.get(request.path_params["site"])
        if site is None:
            raise Problem("unknown_site", "No site of this name is configured here.")
        self._check_origin(site, request)
        return site

    def session_of(self, request: Request) -> ChatSession:
        """The session whose handle a request brings, from a page that may use it. Raises `Problem`."""
        scheme, _, handle = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not handle.strip():
            raise Problem(
                "handle_missing",
                "Send the handle, as Authorization: Bearer <handle>.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            session = self._handles.open_session(handle.strip())
        except HandleInvalid:
            raise _invalid() from None
        except HandleExpired:
            raise Problem("session_expired", "This conversation has expired. Please start a new one.") from None
        site = self._settings.sites.get(session.site)
        # It may have been started before its site asked for tokens.
        if site is None or (session.visitor is None and site.takes_tokens == "required"):
            raise _invalid()
        self._check_origin(site, request)
        return session

    def _check_origin(self, site: Site, request: Request) -> None:
        # The gate let every configured origin in; this one has to be the site's own, or that of our chat pages.
        origin = request.headers["Origin"]
        if not (site.allows(origin) or origin == chat_origin(self._settings, request.scope)):
            raise Problem("origin_not_allowed", "This page's origin is not in the site's list of allowed origins.")

    def _task(self, session: ChatSession, ref: str) -> AwaitedTask:
        try:
            return self._handles.open_task(session, ref)
        except HandleInvalid:
            raise Problem("bad_request", "task is not a task of this session.") from None

    def _cursor(self, cursor: str | None) -> str | None:
        if cursor and _CURSOR.fullmatch(cursor) is None:
            raise Problem("bad_request", "The cursor is not one that was given out.")
        return cursor or None

    def _visitor(self, token: str | None, site: Site, session: ChatSession | None = None) -> Visitor | None:
        """Whom the token names, where there is one. Raises `Problem`."""
        if token is None:
            return None
        if site.takes_tokens == "off":
            raise Problem("visitor_token_invalid", "This site takes no visitor tokens.")
        try:
            visitor = read_token(token, site, self._now(), None if session is None else session.started)
        except VisitorTokenInvalid as error:
            logger.info("site %s: a visitor token is refused: %s", site.slug, error.reason)
            raise Problem("visitor_token_invalid", str(error)) from None
        if session is not None and session.visitor not in {None, visitor_key(site.slug, visitor.id)}:
            raise _invalid("This conversation is another visitor's. Start a new one.")
        return visitor

    # Sending

    async def _send(
        self,
        request: Request,
        session: ChatSession,
        message: str,
        context: Mapping[str, Any] | None,
        files: Sequence[int],
    ) -> dict[str, Any]:
        await self._rates.spend("messages", request, session.site, session.key)
        task = await send_message(self._hub, self._drain, session, message, context, files)
        return {"task": task.ref, "accepted_at": format_moment(task.accepted)}

    async def _send_once(
        self,
        request: Request,
        session: ChatSession,
        message: str,
        context: Mapping[str, Any] | None,
        files: Sequence[int],
        key: str,
        fingerprint: str,
    ) -> Response:
        try:
            claim = await self._broker.claim_send(session.key, key, fingerprint, self._send_seconds)
        except BrokerUnavailable as error:
            # Without it nobody can tell whether this key was sent before.
            raise unavailable(fate="not_sent") from error
        if claim.state == "mismatch":
            raise Problem("bad_request", "This Idempotency-Key was used with another message.", status=422)
        if claim.state == "done" and claim.result is not None:
            return _told_again(claim.result)
        unknown = unknown_fate()
        if claim.state == "lost":
            raise unknown
        settled = {"problem": unknown.body()}
        release = False
        try:
            answer = await self._send(request, session, message, context, files)
            settled = {"answer": answer}
        except Problem as problem:
            release = problem.extra.get("fate") != "unknown"
            raise unknown if not release else problem from problem
        finally:
            # Whatever happened, a cancellation too: who comes with this key again must not send a second time.
            with anyio.CancelScope(shield=True):
                try:
                    if release:
                        await self._broker.release_send(session.key, key)
                    else:
                        await self._broker.settle_send(session.key, key, settled)
                except BrokerUnavailable:
                    logger.warning("session %s: a send's outcome could not be kept", session.key)
        return JSONResponse(answer, 202, _NO_STORE)


def about(site: Site) -> dict[str, Any]:
    """What the widget needs to know of a site."""
    look = site.look
    return {
        "site": site.slug,
        "title": site.title,
        "texts": site.texts.model_dump(mode="json", exclude_none=True)
        | {"welcome_messages": list(look.welcome_messages), "starter_questions": list(look.starter_questions)},
        # What is as it would be anyway stays away: the widget knows it, and each visitor is sent this.
        "look": {"accent": look.accent, "position": look.position}
        | look.model_dump(mode="json", exclude_defaults=True, exclude={"welcome_messages", "starter_questions"}),
        "limits": {
            "message_characters": site.limits.message_characters,
            "page_context_bytes": site.limits.page_context_bytes,
            "attachments": attachment_limits(site),
        },
        "languages": list(site.languages),
        # Calls that few sites take.
        **({"feedback": True} if site.feedback_as_tags else {}),
        **({"end": True} if site.end_by_visitors else {}),
    }


def _invalid(detail: str = "The handle is not valid here. Start a new conversation.") -> Problem:
    return Problem(
        "handle_invalid",
        detail,
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def _told_again(result: Mapping[str, Any]) -> Response:
    if (body := result.get("problem")) is not None:
        return Response(json.dumps(body, ensure_ascii=False), body["status"], _NO_STORE, "application/problem+json")
    return JSONResponse(result["answer"], 202, _NO_STORE)
