"""The settings as they are now: sites and secrets can be read anew while the proxy runs.

Whoever needs a site or a secret asks for it each time; nothing keeps one beyond the request or the poll at hand.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from widget_proxy.config.settings import Settings
from widget_proxy.config.sources import ConfigError, Loaded, Stamp, stamp_of

logger = logging.getLogger(__name__)


class CurrentSettings:
    """`settings` are those in force. `read` reads the configuration anew; without it there is none to read."""

    def __init__(self, settings: Settings, read: Callable[[], Loaded] | None = None) -> None:
        self.settings = settings
        self._read = read
        self._files: Mapping[Path, Stamp] = {}
        self._take_over: Callable[[Settings], Awaitable[None]] | None = None
        self._lock = anyio.Lock()

    def on_change(self, take_over: Callable[[Settings], Awaitable[None]]) -> None:
        """Have `take_over` called with new settings, just before they are in force."""
        self._take_over = take_over

    async def reload(self) -> bool:
        """Read sites and secrets anew; whether they are in force now. Where there is a mistake, each is logged, and
        everything stays as it was."""
        async with self._lock:
            if (new := await self._read_anew()) is None:
                return False
            old = self.settings
            kept = old.model_copy(
                update={
                    "sites": new.sites,
                    "secret_key": new.secret_key,
                    "upstream": old.upstream.model_copy(update={"url": new.upstream.url}),
                }
            )
            for name in Settings.model_fields:
                if getattr(new, name) != getattr(kept, name):
                    logger.warning("%s has changed: that takes a restart, unlike sites and secrets", name)
            if self._take_over is not None:
                await self._take_over(kept)
            self.settings = kept
            logger.info("sites and secrets were read anew: %s", ", ".join(kept.sites))
            return True

    async def watch(self, seconds: float) -> None:
        """For ever: read anew when a file that settings come from has changed, and has stayed so for one more look,
        since it may be written in pieces."""
        if self._read is None:
            return
        # It may have changed since these settings were read.
        new = await self._read_anew()
        if new is not None and (new.sites, new.secret_key) != (self.settings.sites, self.settings.secret_key):
            await self.reload()
        seen: dict[Path, Stamp] | None = None
        while True:
            await anyio.sleep(seconds)
            now = await anyio.to_thread.run_sync(_look, list(self._files))
            if now == self._files:
                seen = None
            elif now != seen:
                seen = now
            else:
                await self.reload()
                seen = None

    async def _read_anew(self) -> Settings | None:
        if self._read is None:
            return None
        try:
            loaded = await anyio.to_thread.run_sync(self._read)
        except ConfigError as error:
            self._files = error.files
            logger.error(  # noqa: TRY400 # the mistakes say it all
                "the new configuration is refused, and the old one stays in force. Mend this:\n%s",
                "\n".join(f"  - {problem}" for problem in error.problems),
            )
            return None
        self._files = loaded.files
        return loaded.settings


def _look(files: Iterable[Path]) -> dict[Path, Stamp]:
    return {file: stamp_of(file) for file in files}
