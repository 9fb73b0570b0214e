"""What is logged, and where to."""

import logging
import sys

# These write whole addresses, which have upstream's session ids in them, every chunk of every stream, or every line
# of every message.
NOISY = ("httpx", "httpcore", "aiohttp", "sse_starlette", "asyncio", "redis", "markdown_it")


def log_to_stderr(level: str) -> None:
    """Log from `level` on (`debug` … `error`) to the standard error stream, one line each."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
