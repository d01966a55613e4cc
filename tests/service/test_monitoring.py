"""The alert rules and the dashboard of docs/monitoring, against the metrics that the server really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from label_studio_requests import local, tasks
from omni_timeline.service.troubles import KINDS
from places import ROOT
from scripted_model import ScriptedModel

FOLDER = ROOT / "docs" / "monitoring"
GROUPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in DASHBOARD["panels"]}
QUERIES = [rule["expr"] for rule in RULES.values()] + [
    target["expr"] for panel in PANELS.values() for target in panel["targets"]
]

WORDS = {
    "and", "or", "on", "by", "sum", "max", "rate", "increase", "histogram_quantile",
    "le", "path", "status", "outcome", "place", "stage", "kind", "reason", "instance",
}  # fmt: skip
NOT_OURS = {"up"}  # Prometheus' own
# What happens, and what is got done; all other metrics are of trouble.
NO_TROUBLE = {
    "omni_timeline_webhooks", "omni_timeline_lines", "omni_timeline_stage_seconds", "omni_timeline_windows_in_a_batch",
    "omni_timeline_decoding", "omni_timeline_generating",
}  # fmt: skip
Labels = dict[str, str]


@pytest.fixture
def families(client: FlaskClient, model: ScriptedModel) -> list[Metric]:
    model.silent["cuda:0"] = 0.0
    client.get("/health")
    client.post("/predict", json=tasks(local("a")))
    return list(text_string_to_metric_families(client.get("/metrics").text))


@pytest.fixture
def exported(families: list[Metric]) -> dict[str, list[Labels]]:
    """The labels of all series, by name."""
    found: dict[str, list[Labels]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def selectors(query: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The metrics in a query, each with the label, the operator and the value of its matchers."""
    for name, braces in re.findall(r"\b([a-z]\w+)\b(?!\()(?:{([^}]*)})?", re.sub(r"\[[^]]*]", "", query)):
        if name not in WORDS:
            yield name, re.findall(r'(\w+)(=~|=|!=)"([^"]*)"', braces)


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_in_a_query_is_one_that_the_server_has(query: str, exported: dict[str, list[Labels]]):
    found = list(selectors(query))
    assert found
    for name, matchers in found:
        assert name in exported or name in NOT_OURS, name
        for label, operator, value in matchers:
            if label in ("instance", "job"):  # given by Prometheus
                continue
            values = {labels[label] for labels in exported[name]}
            if (name, label) == ("omni_timeline_requests_total", "status"):
                continue  # of any answer
            assert operator in ("=", "=~")
            assert set(value.split("|")) <= values, (name, label)


def test_every_kind_of_trouble_has_a_rule():
    matched = {kind for rule in RULES.values() for kind in re.findall(r'trouble_seconds{kind="(\w+)"}', rule["expr"])}
    assert matched == set(KINDS)


def test_every_metric_of_trouble_has_a_rule(families: list[Metric]):
    series = {name for rule in RULES.values() for name, _ in selectors(rule["expr"])}
    watched = {re.sub("_(total|bucket)$", "", name) for name in series}
    ours = {family.name for family in families if family.name.startswith("omni_timeline")}
    assert {name for name in ours - watched if not name.endswith("_created")} == NO_TROUBLE


def test_every_way_in_which_storing_fails_has_a_rule(exported: dict[str, list[Labels]]):
    values = [
        value
        for rule in RULES.values()
        for name, matchers in selectors(rule["expr"])
        for label, _, value in matchers
        if (name, label) == ("omni_timeline_push_trouble_total", "kind")
    ]
    assert {kind for value in values for kind in value.split("|")} == {
        labels["kind"] for labels in exported["omni_timeline_push_trouble_total"]
    }


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_how_bad_it_is_and_what_to_do(name: str):
    rule = RULES[name]
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "action"}
    assert "$labels.instance" in rule["annotations"]["summary"]
    assert all(sentence.endswith(".") for sentence in rule["annotations"].values())


def test_the_manual_names_every_rule_and_no_other():
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"`(OmniTimeline\w+)`", page)) == set(RULES)


def test_prometheus_and_the_dashboard_know_the_server_by_the_same_name():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    [job] = config["scrape_configs"]
    named = re.findall(r'job="([^"]+)"', json.dumps([*RULES.values(), DASHBOARD]).replace('\\"', '"'))
    assert set(named) == {job["job_name"]}


def test_the_dashboard_has_what_grafana_needs_of_one():
    assert DASHBOARD["schemaVersion"] >= 36  # from there on a data source is an object
    assert "id" not in DASHBOARD  # of another Grafana's data base
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert len({panel["id"] for panel in PANELS.values()}) == len(DASHBOARD["panels"]) == len(PANELS)
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS.values():
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"] == source
        assert panel["fieldConfig"]["overrides"] == []
        for number, target in enumerate(panel["targets"]):
            assert (target["datasource"], target["refId"]) == (source, "ABC"[number])
    used = set(re.findall(r"\$(\w+)", " ".join(QUERIES))) - {"__rate_interval"}
    assert used <= set(variables)


def test_no_two_panels_are_in_one_place():
    taken: set[tuple[int, int]] = set()
    for panel in PANELS.values():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
