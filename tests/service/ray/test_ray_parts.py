"""What routes under Ray Serve, without Ray: media keys, replicas' order, arguments, metrics."""

from __future__ import annotations

import base64
import hashlib
import importlib
import inspect
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from ray.serve import Deployment
from ray.serve.schema import ServeDeploySchema

from service.ray.exposition import merged
from service.ray.media_key import media_key
from service.ray.relay import Asked
from service.ray.router import by_load, by_weight, spilled
from service.ray_app import RayArgs, build
from tests.service.chat_requests import chat_body, cloud, data_url, image, npy, png
from tests.service.responses_requests import asked, picture

ROOT = Path(__file__).resolve().parents[3]
JSON = "application/json"
PICTURE = png()
DIGEST = hashlib.sha256(PICTURE).hexdigest()
NAMES = ["a", "b", "c", "d", "e"]


def _form(field: str, *more: tuple[str, str]) -> httpx.Request:
    return httpx.Request(
        "POST", "http://lamm/", data=dict(more), files={field: ("p.png", PICTURE, "image/png")}
    )


def _body(*parts: dict[str, Any], **more: Any) -> bytes:
    return json.dumps(chat_body(*parts, **more)).encode()


def test_a_picture_has_one_key_in_every_dress() -> None:
    stored = {"type": "image_url", "image_url": {"url": None, "file_id": f"file-{DIGEST}"}}
    file = {"type": "file", "file": {"filename": "p.png", "file_data": data_url(PICTURE)}}
    form = _form("file", ("inputs", "{}"))
    assert media_key(JSON, _body(image(PICTURE))) == DIGEST
    assert media_key(JSON, _body(image(PICTURE)).replace(b"/", b"\\/")) == DIGEST
    lines = data_url(b"").encode() + base64.encodebytes(PICTURE).rstrip(b"=\n")
    wrapped = {"type": "image_url", "image_url": {"url": lines.decode()}}
    assert media_key(JSON, _body(wrapped)) == DIGEST
    assert media_key(JSON, _body(stored)) == DIGEST
    assert media_key(JSON, _body(file)) == DIGEST
    assert media_key(JSON, json.dumps(asked(picture(PICTURE))).encode()) == DIGEST
    assert media_key(form.headers["content-type"], form.read()) == DIGEST


@pytest.mark.parametrize(
    ("path", "repeatable"),
    [("/v1/chat/completions", True), ("/v1/responses", True), ("/v1/batches", False)],
)
def test_what_changes_nothing_is_asked_again(path: str, repeatable: bool) -> None:
    assert Asked({"method": "POST", "path": path}, b"").repeatable is repeatable


def test_the_first_medium_counts() -> None:
    points = npy(np.zeros((4, 3), dtype=np.float32))
    body = _body(cloud(points), image(PICTURE))
    assert media_key(JSON, body) == hashlib.sha256(points).hexdigest()


def test_text_that_speaks_of_pictures_names_none() -> None:
    said = f'{{"url": "{data_url(PICTURE)}", "file_id": "file-{DIGEST}"}}'
    assert media_key(JSON, _body(text=said)) == ""


def test_an_address_is_its_own_key() -> None:
    first, second = (
        media_key(JSON, json.dumps({"image_url": {"url": url}}).encode())
        for url in ("https://a.example/1.png", "https://a.example/2.png")
    )
    assert first
    assert second
    assert first != second


@given(
    st.sampled_from(
        [JSON, "", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain; a=b"]
    ),
    st.lists(
        st.sampled_from(
            [
                b"--x",
                b"--",
                b"\r\n",
                b"\r\n\r\n",
                b"filename=",
                b'"url":',
                b'"',
                b"data:,",
                b"A=",
                b"x",
            ]
        )
    ),
)
def test_any_body_has_a_key_or_none(kind: str, parts: list[bytes]) -> None:
    key = media_key(kind, b"".join(parts))
    assert key == "" or len(key) == 64


def test_keys_spread_evenly_and_a_lost_replica_moves_its_own_alone() -> None:
    keys = [str(number) for number in range(2000)]
    before = {key: by_weight(key, NAMES, str)[0] for key in keys}
    after = {key: by_weight(key, NAMES[1:], str)[0] for key in keys}
    assert min(Counter(before.values()).values()) > 300
    assert {key for key in keys if before[key] != after[key]} == {
        key for key in keys if before[key] == NAMES[0]
    }


def test_order_does_not_depend_on_who_asks() -> None:
    assert by_weight("key", NAMES, str) == by_weight("key", NAMES[::-1], str)


def test_a_busy_replica_hands_its_keys_on() -> None:
    loads = {"a": 0, "b": 4, "c": 3, "d": 9}
    assert spilled(["d", "b", "c", "a"], loads.__getitem__, 4) == ["c", "a", "b", "d"]
    assert spilled(["d", "b"], loads.__getitem__, 4) == ["b", "d"]
    assert spilled([], loads.__getitem__, 4) == []


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_without_a_key_all_replicas_are_offered(count: int) -> None:
    pair, rest = by_load(NAMES[:count])
    assert len(pair) == min(2, count)
    assert sorted(pair + rest) == NAMES[:count]


def test_metrics_of_replicas_stand_side_by_side() -> None:
    text = (
        "# HELP lamm:x_total X.\n# TYPE lamm:x_total counter\n"
        'lamm:x_total{model_name="m"} %d\n'
        "# HELP lamm:s Seconds.\n# TYPE lamm:s histogram\n"
        'lamm:s_bucket{le="+Inf"} 2\nlamm:s_count 2\nlamm:s_sum 0.5\n'
    )
    both = merged({"one": text % 3, "two": text % 4}).decode()
    assert both.count("# TYPE lamm:x_total counter") == 1
    families = {family.name: family for family in text_string_to_metric_families(both)}
    assert {
        (sample.labels["replica"], sample.labels["model_name"], sample.value)
        for sample in families["lamm:x"].samples
    } == {("one", "m", 3.0), ("two", "m", 4.0)}
    assert len(families["lamm:s"].samples) == 6


def test_arguments_are_the_service_s_settings_and_ray_s(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMM_MAX_NUM_SEQS", "7")
    args = RayArgs.model_validate(
        # As `serve run` hands them over.
        {"checkpoint": str(checkpoint), "num_gpus": "0.5", "kv_cache_bytes": "1000000"}
    )
    assert args.checkpoint == (str(checkpoint),)
    assert (args.max_num_seqs, args.num_gpus) == (7, 0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_replicas": 2}, "files_dir is not set"),
        ({"min_replicas": 3, "max_replicas": 2, "files_dir": "/f"}, "at most max_replicas, 2"),
        ({"num_gpus": 0.5}, "kv_cache_bytes is not set"),
        ({"num_gpu": 1}, "num_gpu"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RayArgs.model_validate(given)


def test_the_sample_config_is_what_ray_and_the_builder_take() -> None:
    given = yaml.safe_load((ROOT / "docker/ray/serve.yaml").read_text(encoding="utf8"))
    schema = ServeDeploySchema.model_validate(given)
    [application] = schema.applications
    module, _, builder = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), builder))
    args = RayArgs.model_validate(application.args)
    assert (args.min_replicas, args.max_replicas) == (2, 8)


def test_ray_knows_what_the_builder_takes() -> None:
    # It makes this type of what stands in the file or on the command line; a text it passes by.
    assert inspect.signature(build).parameters["args"].annotation is RayArgs


def _deployments(args: RayArgs) -> tuple[Deployment, Deployment]:
    """The gateways and the replicas that `build` binds together."""
    gateways = build(args)._bound_deployment
    return gateways, gateways.init_args[0]._bound_deployment


def test_replicas_come_with_the_queue(tmp_path: Path) -> None:
    args = RayArgs(
        max_replicas=4,
        files_dir=tmp_path,
        num_gpus=1,
        gateways=2,
        max_num_seqs=16,
        max_waiting_requests=100,
        shutdown_timeout_s=20,
    )
    gateways, replicas = _deployments(args)
    config = replicas._deployment_config
    assert config.autoscaling_config.target_ongoing_requests == 16
    assert (config.autoscaling_config.min_replicas, config.autoscaling_config.max_replicas) == (
        1,
        4,
    )
    # The engine's own limits come first, and a stop is given the time that the engine gives.
    assert replicas.max_ongoing_requests > 16 + 100
    assert replicas.max_queued_requests == 100
    assert config.graceful_shutdown_timeout_s > 20
    assert replicas.ray_actor_options["num_gpus"] == 1
    assert config.request_router_config.request_router_kwargs == {"busy_at": 16}
    assert gateways.num_replicas == 2
    assert gateways.max_ongoing_requests >= 4 * replicas.max_ongoing_requests


def test_as_many_as_must_be_is_a_number(tmp_path: Path) -> None:
    args = RayArgs(min_replicas=3, max_replicas=3, files_dir=tmp_path, busy_at=5)
    _, replicas = _deployments(args)
    assert replicas.num_replicas == 3
    assert replicas._deployment_config.autoscaling_config is None
    assert replicas._deployment_config.request_router_config.request_router_kwargs == {"busy_at": 5}
