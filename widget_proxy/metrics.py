"""What is counted, and how Prometheus reads it. docs/monitoring.md explains each, and alerts on them.

Labels have few values, all known beforehand: sites and upstream hosts are configured, the rest is listed in the code.
Nothing that a visitor sends becomes one.

Several workers behind one port write into files of one directory, which `serve` makes; whichever is asked adds them
up. Counts of a worker that is gone stay in the sum, so that it never falls; its gauges do not. One process counts in
its memory. prometheus_client decides between the two when it is first loaded, by `PROMETHEUS_MULTIPROC_DIR`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import product
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from widget_proxy import __version__
from widget_proxy.call_names import CALLS
from widget_proxy.messages import Event, parse_moment
from widget_proxy.upstream.watch import ABORTED, KINDS, OK, OUTCOMES

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

CONTENT_TYPE = CONTENT_TYPE_LATEST

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
REQUEST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
DELAY = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
ANSWER = (0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300)
"""Upper bounds of the buckets, in seconds."""

ANSWER_ENDS = ("complete", "failed", "timeout")

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, which nothing here reads


class Metrics:
    """One application's. Whatever happens is told by a method; what is, is set by `observing`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._before_collecting: list[Callable[[], None]] = []

        self.workers = self._gauge("workers", "Processes that serve.")
        self.streams_open = self._gauge("streams_open", "Streams open now.")
        self.streams_allowed = self._gauge("streams_allowed", "Streams that may be open at once.")
        self.sessions_followed = self._gauge(
            "sessions_followed", "Sessions somebody listens to or awaits an answer in."
        )
        self.answers_awaited = self._gauge("answers_awaited", "Answers that are polled for now.")
        self.uploads_running = self._gauge("uploads_running", "Files on their way from visitors now.")
        self.broker_up = self._gauge("broker_up", "1 where every worker reaches the broker, else 0.", "livemin")
        self.budget_level = self._gauge(
            "budget_level", "Share of the request budget that is left, 0 to 1.", "livemin", "upstream"
        )
        self.upstream_answered = self._gauge(
            "upstream_last_answer_timestamp_seconds",
            "When upstream last answered as it should, in Unix time; 0: not yet.",
            "max",
            "upstream",
        )
        self.upstream_failed = self._gauge(
            "upstream_last_failure_timestamp_seconds",
            "When a request to upstream last failed, in Unix time; 0: not yet.",
            "max",
            "upstream",
        )
        self.memory = self._gauge("process_memory_bytes", "Resident memory of all workers.")
        self.open_files = self._gauge("process_open_files", "Open file descriptors of all workers.")
        self.files_allowed = self._gauge("process_open_files_allowed", "File descriptors all workers may have open.")
        self.tasks = self._gauge("event_loop_tasks", "Tasks of all workers' event loops.")
        self.started = self._gauge("process_start_time_seconds", "When the newest worker started.", "livemax")
        self._gauge("build_info", "1; the label says which version runs.", "livemax", "version").labels(
            __version__
        ).set(1)

        self.cpu = self._counter("process_cpu_seconds", "CPU time of all workers.")
        self._opened = self._counter("streams_opened", "Streams opened.")
        self._dropped = self._counter("streams_dropped", "Streams closed because their reader took nothing.")
        self._started_sessions = self._counter("sessions_started", "Sessions started.", "site")
        self._sent = self._counter("messages_sent", "Messages that upstream accepted.", "site")
        self._answers = self._counter("answers", "Answers that came to their end.", "site", "status")
        self._refusals = self._counter("refusals", "Requests answered with a problem.", "call", "reason")
        self._requests = self._counter("upstream_requests", "Requests to upstream.", "upstream", "kind", "outcome")

        self._answer_seconds = self._histogram(
            "answer_seconds", "From a message's acceptance to the end of its answer in the log.", ANSWER, "site"
        )
        self._reply_delay = self._histogram(
            "reply_delay_seconds",
            "From the moment upstream stamped a reply, by its clock, to its event in the log, by ours.",
            DELAY,
            "site",
        )
        self._writing = self._histogram(
            "stream_write_seconds", "From the first of some events in the log to the last stream told.", QUICK
        )
        self._request_seconds = self._histogram(
            "upstream_request_seconds", "How long requests to upstream took.", REQUEST, "kind"
        )
        self.loop_lag = self._histogram("event_loop_lag_seconds", "How late a timer of the event loop is.", QUICK)
        self.broker_seconds = self._histogram("broker_seconds", "How long the broker took to answer a look.", QUICK)

    def expect(self, sites: Iterable[str], upstreams: Iterable[str]) -> None:
        """Begin at 0 what alerts ask for: Prometheus does not notice the first step of a count that was not there."""
        for site in sites:
            for status in ANSWER_ENDS:
                self._answers.labels(site, status)
        for upstream, kind, outcome in product(upstreams, KINDS, (OK, ABORTED, *OUTCOMES.values())):
            self._requests.labels(upstream, kind, outcome)
        for call in CALLS:
            self._refusals.labels(call, "internal_error")

    # What happens

    def stream_opened(self) -> None:
        """A stream was opened."""
        self._opened.inc()

    def stream_dropped(self) -> None:
        """A reader took nothing for too long."""
        self._dropped.inc()

    def streams_written(self, seconds: float) -> None:
        """Everybody who had something to be told was told it, so long after the first of them had."""
        self._writing.observe(seconds)

    def session_started(self, site: str) -> None:
        """Upstream started a session."""
        self._started_sessions.labels(site).inc()

    def message_sent(self, site: str) -> None:
        """Upstream accepted a message."""
        self._sent.labels(site).inc()

    def answered(self, site: str, ending: Sequence[Event], accepted: datetime, now: datetime) -> None:
        """An answer came to its end, and these events tell it."""
        for event in ending:
            if event.name == "done":
                self._answers.labels(site, event.data["status"]).inc()
                if event.data["status"] == "complete":
                    self._answer_seconds.labels(site).observe(max(0.0, (now - accepted).total_seconds()))
            elif event.name == "message" and (said := parse_moment(event.data["created_at"] or "")) is not None:
                self._reply_delay.labels(site).observe(max(0.0, (now - said).total_seconds()))

    def refused(self, call: str, reason: str) -> None:
        """A request was answered with a problem. `reason`: its code, or the rate that is exceeded."""
        self._refusals.labels(call, reason).inc()

    def upstream_request(self, upstream: str, kind: str, outcome: str, seconds: float) -> None:
        """A request to upstream ended."""
        self._requests.labels(upstream, kind, outcome).inc()
        self._request_seconds.labels(kind).observe(seconds)

    # What Prometheus reads

    def before_collecting(self, look: Callable[[], None]) -> None:
        """Have `look` set gauges each time before they are read."""
        self._before_collecting.append(look)

    def collect(self) -> Iterable[Metric]:
        """All of them as they are now, over all workers."""
        return self._whole().collect()

    def exposition(self) -> bytes:
        """The same as Prometheus reads it."""
        return generate_latest(self._whole())

    @property
    def own(self) -> CollectorRegistry:
        """What this process has: all names, and their labels."""
        return self._registry

    def _whole(self) -> CollectorRegistry:
        for look in self._before_collecting:
            look()
        directory = os.environ.get(DIRECTORY_VARIABLE)
        if directory is None:
            return self._registry
        forget_dead_workers(Path(directory))
        merged = CollectorRegistry()
        MultiProcessCollector(merged, directory)  # type: ignore[no-untyped-call]
        return merged

    def _gauge(self, name: str, meaning: str, over_workers: str = "livesum", *labels: str) -> Gauge:
        return Gauge(
            f"widget_proxy_{name}",
            meaning,
            labels,
            registry=self._registry,
            multiprocess_mode=over_workers,  # type: ignore[arg-type] # one of its literals
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"widget_proxy_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"widget_proxy_{name}", meaning, labels, registry=self._registry, buckets=buckets)


def forget_dead_workers(directory: Path) -> None:
    """Drop the gauges of workers that are gone, however they went."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in directory.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was quicker
                mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # somebody else's process has its number; it goes with that
