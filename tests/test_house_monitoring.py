"""Alert rules and dashboard: on metrics that exist, and taken by Prometheus where it is there."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families

from lamm_model.conversation import Modality
from service.engine.base import EngineStats, RequestTimings
from service.metrics import Metrics

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "docker" / "prometheus"
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "lamm.json"
ADAPTER = ROOT / "docker" / "kubernetes" / "monitoring" / "prometheus-adapter.yaml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing (Debian: prometheus)"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is missing (Debian: prometheus)"
)


def _found(name: str) -> str:
    path = shutil.which(name)
    assert path is not None
    return path


def _exposition() -> bytes:
    """The service's metrics after one of everything has happened."""
    metrics = Metrics("lamm", {"lamm": lambda: EngineStats(running=1)}).of_model("lamm")
    metrics.first_token(0.1)
    metrics.tokens(2, 0.1)
    metrics.finished("stop", 1.0, RequestTimings(queue=0.1, prefill=0.2, generate=0.5))
    metrics.media_read(Modality.IMAGE, 0.1, 0.1)
    metrics.media_encoded(Modality.IMAGE, 0.1)
    metrics.preparing_media(1)
    metrics.rejected("queue_full")
    metrics.task_answered("detection", "ok")
    return metrics.exposition()


def _samples() -> dict[str, set[str]]:
    """Name of each series -> its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(_exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return panels


def _expressions() -> list[str]:
    """Every PromQL expression that ships."""
    targets = [target["expr"] for panel in _panels() for target in panel.get("targets", ())]
    adapter = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    return [
        *(rule["expr"] for rule in _rules()),
        *targets,
        *(rule["seriesQuery"] for rule in adapter),
        *(variable["definition"] for variable in variables if "definition" in variable),
    ]


@pytest.mark.parametrize("expression", _expressions())
def test_expressions_name_metrics_that_exist(expression: str) -> None:
    named = set(re.findall(r"\blamm:\w+", expression))
    assert named or expression == 'up{job="lamm"} == 0'
    assert named - set(_samples()) == set()


@pytest.mark.parametrize("expression", [rule["expr"] for rule in _rules()])
def test_alerts_group_by_labels_that_exist(expression: str) -> None:
    samples = _samples()
    named = re.findall(r"\blamm:\w+", expression)
    # What Prometheus itself puts on each series.
    known = set().union(*(samples[name] for name in named)) | {"instance", "job"}
    grouped = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", expression)
        for label in labels.split(",")
    }
    assert grouped <= known


def test_every_metric_of_the_service_is_on_the_dashboard() -> None:
    families = text_string_to_metric_families(_exposition().decode())
    shown = " ".join(target["expr"] for panel in _panels() for target in panel.get("targets", ()))
    names = [family.name for family in families if not family.name.endswith("_created")]
    missing = [name for name in names if name not in shown]
    assert missing == []


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        taken |= cells


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    for rule in _rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert {"summary", "action"} <= set(rule["annotations"]), rule["alert"]


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [_found("promtool"), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_finds_nothing_in_what_the_service_exposes() -> None:
    done = subprocess.run(
        [_found("promtool"), "check", "metrics"],
        input=_exposition(),
        capture_output=True,
        timeout=60,
    )
    complaints = done.stderr.decode().splitlines()
    # The prefix is vLLM's way of naming, with the colon that the linter keeps for recordings.
    assert [line for line in complaints if "should not contain ':'" not in line] == []


@needs_prometheus
def test_the_real_prometheus_scrapes_the_service_and_answers_every_expression(
    tmp_path: Path,
) -> None:
    with _metrics_server() as target, _prometheus(tmp_path, target) as api:
        _wait_for(lambda: _query(api, 'up{job="lamm"}') == [1.0])
        for expression in _expressions()[: len(_rules())]:
            _query(api, expression)
        for panel in _panels():
            for asked in panel.get("targets", ()):
                _query(api, asked["expr"].replace("$__rate_interval", "1m").replace("$", "."))
        assert _query(api, "lamm:num_requests_running") == [1.0]
        rules = httpx.get(f"{api}/rules").json()["data"]["groups"]
        assert sum(len(group["rules"]) for group in rules) == len(_rules())


def _query(api: str, expression: str) -> list[float]:
    answer = httpx.get(f"{api}/query", params={"query": expression})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    return [float(series["value"][1]) for series in answer.json()["data"]["result"]]


def _wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError, AssertionError):
            if holds():
                return
        time.sleep(0.1)
    pytest.fail("Prometheus did not scrape the service in 60 s")


@contextlib.contextmanager
def _metrics_server() -> Iterator[str]:
    """The service's exposition on a port of its own; yields HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = _exposition()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def _prometheus(directory: Path, target: str) -> Iterator[str]:
    """A Prometheus on the configuration that ships; yields the address of its API."""
    config = (PROMETHEUS / "prometheus.yml").read_text()
    (directory / "prometheus.yml").write_text(config.replace("lamm:8000", target))
    shutil.copy(PROMETHEUS / "alerts.yml", directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                _found("prometheus"),
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://{address}/api/v1"
        finally:
            process.terminate()
            process.wait(timeout=30)
