"""What the proxy's streams are measured against: sse-starlette's own response, a queue a stream, and nothing else.

python -m benchmarks.bare_sse PORT
"""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

queues: set[asyncio.Queue[str]] = set()


async def events(request: Request) -> Response:
    """An endless stream of what is said."""

    async def told() -> AsyncIterator[dict[str, str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        try:
            yield {"event": "ready", "data": "{}"}
            while True:
                yield {"event": "message", "data": await queue.get()}
        finally:
            queues.discard(queue)

    return EventSourceResponse(told())


async def say(request: Request) -> Response:
    """Tell everybody."""
    text = (await request.body()).decode()
    for queue in queues:
        queue.put_nowait(text)
    return Response(status_code=204)


app = Starlette(routes=[Route("/events", events), Route("/say", say, methods=["POST"])])

if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False)
