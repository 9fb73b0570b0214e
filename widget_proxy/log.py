"""What is logged, and where to: the standard error stream, a line each, for people or for programs.

Nobody's messages, no keys, tokens or handles, and of an address of a visitor only the network
(`client_address.shortened`).
"""

import logging
import sys
from typing import Literal

import structlog

from widget_proxy.sparing import Sparing

# These write whole addresses, which have upstream's session ids in them, every chunk of every stream, or every line
# of every message.
NOISY = ("httpx", "httpcore", "aiohttp", "sse_starlette", "asyncio", "redis", "markdown_it")

LogFormat = Literal["console", "json"]

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def log_to_stderr(level: str, log_format: LogFormat = "console") -> None:
    """Log from `level` on (`debug` … `error`). As `json`, a line is an object with `timestamp`, `level`, `logger`,
    `event`, `request_id` where it is of a request, and `exception` where there is one."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    handler.addFilter(Sparing())
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _formatter(log_format: LogFormat) -> logging.Formatter:
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    processors: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Plain tracebacks: the others print local variables, and those hold what must not be read.
        plain = structlog.dev.plain_traceback
        processors += [
            _one_line,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain),
        ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=processors)


def _one_line(_: object, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Whoever gets a line break into a message must not write lines of their own."""
    entry["event"] = str(entry["event"]).translate(_ESCAPED)
    return entry
