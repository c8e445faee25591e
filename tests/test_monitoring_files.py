"""The dashboard and the alerts speak of metrics that the gateway exports, in expressions that can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.feed.follower import Reason
from gateway.metrics.families import FAMILIES, Kind

ROOT = Path(__file__).parent.parent
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/runcast.json").read_text(encoding="utf-8"))
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))
SCRAPING: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]

#: What a query may call them; only what is named here is a function or a word of the language.
FUNCTIONS = {"sum", "max", "min", "rate", "increase", "histogram_quantile", "absent", "time"}
WORDS = {"by", "and", "or", "offset", "e9"}
#: Of Prometheus itself.
FOREIGN = {"up"}
DURATION = re.compile(r"\d+[smhd]")


def exported() -> dict[str, set[str]]:
    """Every name that a query may use, with its labels."""
    names: dict[str, set[str]] = {}
    for family in FAMILIES.values():
        labels = set(family.labels)
        if family.kind is Kind.HISTOGRAM:
            names |= {f"{family.name}_bucket": labels | {"le"}, f"{family.name}_sum": labels}
            names[f"{family.name}_count"] = labels
        else:
            names[family.shown] = labels
    return names


def metrics_of(expression: str) -> set[str]:
    """The metrics in an expression: what is no function, word, label, number or duration."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)", " ", bare)
    names = set(re.findall(r"(?<![\w.])[a-z_]\w*", bare))
    return names - FUNCTIONS - WORDS


def grouped_by(expression: str) -> set[str]:
    found = ",".join(re.findall(r"\bby\s*\(([^)]*)\)", expression))
    return {name.strip() for name in found.split(",") if name.strip()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_is_exported_and_has_the_labels_it_is_grouped_by(expression: str) -> None:
    """One that is renamed or removed must not leave an empty panel, or an alert that never comes."""
    known = exported()
    used = metrics_of(expression)

    assert used <= known.keys() | FOREIGN
    assert used, "an expression without a metric says nothing"
    labels = {"instance", "job"}.union(*(known.get(name, set()) for name in used))
    assert grouped_by(expression) <= labels
    assert set(re.findall(r"(\w+)\s*=~?", "".join(re.findall(r"\{([^}]*)\}", expression)))) <= labels


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_are_whole(expression: str) -> None:
    """Brackets close; counters are looked at by their rise, histograms by their buckets, gauges as they are."""
    depth = []
    for character in re.sub(r'"[^"]*"', "", expression):
        if character in "([{":
            depth.append(character)
        elif character in ")]}":
            assert depth
            assert depth.pop() + character in ("()", "[]", "{}")
    assert not depth
    for name in metrics_of(expression) - FOREIGN:
        rises = name.endswith(("_total", "_bucket"))
        in_range = re.search(rf"\b(rate|increase)\({name}(\{{[^}}]*\}})?\[", expression) is not None
        assert rises == in_range, f"{name} is {'a counter' if rises else 'no counter'}"


def test_every_metric_is_on_the_dashboard() -> None:
    """What is counted is shown somewhere."""
    shown = set().union(*(metrics_of(target["expr"]) for panel in PANELS for target in panel["targets"]))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}

    assert {family.shown for family in FAMILIES.values()} <= bases


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """It asks for the data source and names none; panels have ids of their own, and do not lie on each other."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    taken = set[tuple[int, int]]()
    assert len(set(ids)) == len(ids)
    assert DASHBOARD["uid"] == "runcast"
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """Its fields are those that Prometheus knows, and the docs have a line for it."""
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Runcast[A-Z]\w+", rule["alert"])
    assert "for" not in rule or DURATION.fullmatch(rule["for"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    grouped = grouped_by(rule["expr"])
    assert used <= (grouped or {"instance", "job"}), "an aggregation leaves only the labels that it names"
    assert f"`{rule['alert']}`" in (ROOT / "docs/observability.md").read_text(encoding="utf-8")


def test_there_is_an_alert_for_each_of_these() -> None:
    """What a team must hear of before its users do."""
    watched = set().union(*(metrics_of(rule["expr"]) for rule in RULES))

    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 6
    assert watched >= {
        "runcast_subscription_up",
        "runcast_delivery_lag_seconds_bucket",
        "runcast_redis_round_trip_seconds_bucket",
        "runcast_refusals_total",
        "runcast_event_loop_lag_seconds_bucket",
        "runcast_unsent_bytes",
        "runcast_open_files_ratio",
    }


def test_the_scraping_sample_fits_the_alerts() -> None:
    """Alerts name the job."""
    (job,) = SCRAPING["scrape_configs"]

    assert SCRAPING["rule_files"] == ["alerts.yaml"]
    assert job["job_name"] == "runcast"


def test_every_reason_to_catch_up_is_documented() -> None:
    """Whoever sees one on the dashboard can find out what it means."""
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")

    assert [reason for reason in Reason if f"`{reason}`" not in page] == []


def test_every_metric_is_documented() -> None:
    """By its name, in the table of the page; and the table has no other."""
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(runcast_\w+)`", page, re.MULTILINE))

    assert documented == {family.shown for family in FAMILIES.values()}
