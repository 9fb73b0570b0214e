"""What is written of the metrics is what there is: the table, the alerts, the dashboard, the run-book."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from widget_proxy.metrics import Metrics

ROOT = Path(__file__).parent.parent
MONITORING = (ROOT / "docs/monitoring.md").read_text()
RUN_BOOK = (ROOT / "docs/run-book.md").read_text() if (ROOT / "docs/run-book.md").exists() else ""
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())

PREFIX = "widget_proxy_"
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that every metric has, or every histogram."""


def known() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Every metric, and the labels it has."""
    for collector in Metrics().own._collector_to_names:
        assert isinstance(collector, MetricWrapperBase)
        (metric,) = collector.describe()
        yield metric, tuple(collector._labelnames)


def metric_rows() -> list[str]:
    """The table, from the metrics themselves."""
    rows = []
    for metric, labels in known():
        name = metric.name.removeprefix(PREFIX) + ("_total" if metric.type == "counter" else "")
        shown = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{name}` | {metric.type} | {shown} | {metric.documentation} |")
    return rows


def series() -> dict[str, set[str]]:
    """What Prometheus has of them, by name, with the labels."""
    found: dict[str, set[str]] = {}
    for metric, labels in known():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
        for suffix in suffixes:
            found[metric.name + suffix] = set(labels)
    return found


def names_in(expression: str) -> list[str]:
    return re.findall(rf"{PREFIX}\w+", expression)


def labels_in(expression: str) -> set[str]:
    """Those that a query selects by or keeps."""
    selected = {
        label for inside in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)\s*[=!]", inside)
    }
    kept = {
        label.strip()
        for inside in re.findall(r"by \(([^)]*)\)|label_values\(\w+, (\w+)\)", expression)
        for part in inside
        for label in part.split(",")
        if label.strip()
    }
    return selected | kept


def wrong_with(expression: str) -> list[str]:
    """What a query names that is not there."""
    there = series()
    names = names_in(expression)
    wrong = [name for name in names if name not in there]
    labels = OF_PROMETHEUS.union(*(there.get(name, set()) for name in names))
    return wrong + sorted(labels_in(expression) - labels)


def queries() -> list[tuple[str, str]]:
    """Every query that is delivered, and whose it is."""
    found = [(rule["alert"], rule["expr"]) for rule in RULES]
    found += [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found += [
        (one["name"], one["query"]["query"]) for one in DASHBOARD["templating"]["list"] if one["type"] == "query"
    ]
    return found


def test_the_table_is_that_of_the_metrics() -> None:
    found = re.search(r"\| metric \| type \|.*\n\|---.*\n((?:\|.*\n)+)", MONITORING)
    assert found is not None
    expected = "\n".join(metric_rows())
    assert found[1].strip() == expected, f"write this there:\n{expected}"


@pytest.mark.parametrize(("owner", "query"), queries())
def test_a_query_asks_for_what_there_is(owner: str, query: str) -> None:
    assert names_in(query) or "up{" in query
    assert wrong_with(query) == [], owner


def test_a_query_for_what_there_is_not_is_noticed() -> None:
    assert wrong_with('sum by (site) (rate(widget_proxy_nothing_total{colour="red"}[5m]))') == [
        "widget_proxy_nothing_total",
        "colour",
        "site",
    ]
    assert wrong_with("widget_proxy_answers") == ["widget_proxy_answers"], "as Prometheus has it, with its ending"


def test_the_words_that_queries_select_by_are_those_that_are_counted() -> None:
    counted = (ROOT / "widget_proxy/upstream/watch.py").read_text() + (ROOT / "widget_proxy/problems.py").read_text()
    counted += (ROOT / "widget_proxy/messages.py").read_text()
    words = {
        word
        for _, query in queries()
        for value in re.findall(r'(?:outcome|status|kind|reason)=~?"([\w|]+)"', query)
        for word in value.split("|")
    }
    assert words > {"timeout", "busy", "message_poll"}
    assert [word for word in words if f'"{word}"' not in counted] == []


def test_every_metric_that_tells_of_visitors_is_on_the_dashboard() -> None:
    shown = {name for _, query in queries() for name in names_in(query)}
    unseen = {
        name
        for name in series()
        if name not in shown and not name.endswith(("_sum", "_count")) and "timestamp" not in name
    }
    assert unseen == {"widget_proxy_build_info", "widget_proxy_streams_dropped_total"}


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    symptom = re.search(r"Run-book: (.*)\.$", rule["annotations"]["description"])
    assert symptom is not None
    assert f"## {symptom[1][0].upper()}{symptom[1][1:]}\n" in RUN_BOOK
    assert f"| `{rule['alert']}` |" in MONITORING


def test_the_documentation_names_no_alert_that_is_not_there() -> None:
    table = MONITORING.partition("## Alerts")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [rule["alert"] for rule in RULES]
