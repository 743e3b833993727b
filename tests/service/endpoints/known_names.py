"""Names that lead somewhere in a live service, put in the place of made-up ones.

`test_schemathesis` has half of its examples name what is there; made-up names end in a 404.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
import urllib.parse
import uuid
from typing import Any

import numpy as np
import requests
from schemathesis.core.parameters import ParameterLocation

from tests.service.batches.batch_jobs import CHAT, jsonl, request_line
from tests.service.chat_requests import npy, png

MODEL = "tiny-lamm"
ASKED = [{"role": "user", "content": "What is this?"}]
_ENDED = ("completed", "failed", "expired", "cancelled")
_WAIT_S = 120.0


class KnownNames:
    """A service's model, files, batches and running requests, as an admin's key has them."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._turn = itertools.count()
        self._unfinished: socket.socket | None = None
        cards = self._json("GET", "/v1/tasks")["data"]
        self._inputs = {card["path"]: _short_inputs(card) for card in cards}
        self._picture = self._upload("a.png", png(), "vision")
        cloud = np.random.default_rng(0).random((100, 3), dtype=np.float32)
        self._cloud = self._upload("a.npy", npy(cloud), "vision")
        self._lines = self._upload("in.jsonl", jsonl(map(request_line, range(3))), "batch")
        self._batch = self._finished()

    def close(self) -> None:
        """Ends what is connected to the service."""
        self._close_unfinished()
        self._session.close()

    def put_into(self, case: Any, whole: bool) -> None:
        """Names what is there wherever the case would be right with it.

        `whole` replaces the parts, too, that hardly any generated case has such that a model can
        answer: a conversation, a task's inputs, a batch's file.
        """
        if isinstance(case.body, dict) and not _is_wrong(case, ParameterLocation.BODY):
            self._put_into_body(case, whole)
        if case.path_parameters and not _is_wrong(case, ParameterLocation.PATH):
            for name in list(case.path_parameters):
                case.path_parameters[name] = self._named(name, case)
        if case.query and "after" in case.query and not _is_wrong(case, ParameterLocation.QUERY):
            of_batches = case.operation.path == "/v1/batches"
            case.query["after"] = self._batch["id"] if of_batches else self._picture

    def _put_into_body(self, case: Any, whole: bool) -> None:
        body = case.body
        if "model" in body:
            body["model"] = MODEL
        if isinstance(body.get("task"), str):
            body["task"] = "detection"
        # Nor does the document know the model's context, which random numbers of tokens overrun.
        for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens"):
            body.pop(name, None)
        if isinstance(body.get("image_url"), dict):
            body["image_url"] = {"file_id": self._picture}
        if isinstance(body.get("point_cloud_url"), dict):
            body["point_cloud_url"] = {"file_id": self._cloud, "format": "npy"}
        if "input_file_id" in body:
            body["input_file_id"] = self._lines
        if whole:
            self._put_whole_parts(body, case.operation.path)

    def _put_whole_parts(self, body: dict[str, Any], path: str) -> None:
        if "messages" in body:
            body["messages"] = ASKED
        if "input" in body:
            body["input"] = ASKED
        if isinstance(body.get("inputs"), dict):
            body["inputs"] = self._inputs[path]
        if isinstance(body.get("file"), bytes):
            body["file"] = npy(np.eye(3, dtype=np.float32)) if path.endswith("_3d") else png()
        if "input_file_id" in body:
            body.update(endpoint=CHAT, completion_window="24h")

    def _named(self, name: str, case: Any) -> Any:
        turn = next(self._turn)
        if name in ("model", "name"):
            return MODEL
        if name == "file_id":
            if case.method.upper() == "DELETE":
                return self._upload("x", uuid.uuid4().bytes, "vision")
            return (self._picture, self._lines, self._batch["output_file_id"])[turn % 3]
        if name == "batch_id":
            fresh = case.method.upper() == "POST" and turn % 2
            return self._started()["id"] if fresh else self._batch["id"]
        if name == "request_id":
            return self._running()
        return case.path_parameters[name]

    def _started(self) -> Any:
        batch = {"input_file_id": self._lines, "endpoint": CHAT, "completion_window": "24h"}
        return self._json("POST", "/v1/batches", json=batch)

    def _finished(self) -> Any:
        batch, deadline = self._started(), time.monotonic() + _WAIT_S
        while batch["status"] not in _ENDED and time.monotonic() < deadline:
            time.sleep(0.1)
            batch = self._json("GET", f"/v1/batches/{batch['id']}")
        assert batch["status"] == "completed", batch
        return batch

    def _upload(self, name: str, content: bytes, purpose: str) -> str:
        data, files = {"purpose": purpose}, {"file": (name, content)}
        return str(self._json("POST", "/v1/files", data=data, files=files)["id"])

    def _running(self) -> str:
        """The id of a request whose body has not all come: it runs until it is cancelled."""
        place, request_id = urllib.parse.urlsplit(self._url), uuid.uuid4().hex
        self._close_unfinished()
        self._unfinished = socket.create_connection((place.hostname, place.port), timeout=30)
        self._unfinished.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 100\r\n"
            f"Content-Type: application/json\r\nAuthorization: Bearer {self._key}\r\n"
            f"X-Request-Id: {request_id}\r\n\r\n{{".encode()
        )
        time.sleep(0.02)  # for the service to have seen it; else the answer is a 404
        return request_id

    def _close_unfinished(self) -> None:
        if self._unfinished is not None:
            self._unfinished.close()

    def _json(self, method: str, path: str, **more: Any) -> Any:
        deadline = time.monotonic() + _WAIT_S
        while True:
            answer = self._session.request(method, f"{self._url}{path}", timeout=_WAIT_S, **more)
            # A slow machine may not have ended yet the batches that were cancelled.
            if answer.status_code != 429 or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)


def _short_inputs(card: dict[str, Any]) -> dict[str, Any]:
    """The task's example; all names of a data set's classes would overrun the model's context."""
    has_labels = "labels" in card["inputs_schema"]["properties"]
    return {**card["example"]["inputs"], **({"labels": ["chair", "table"]} if has_labels else {})}


def _is_wrong(case: Any, location: ParameterLocation) -> bool:
    return case.meta is not None and case.meta.is_negative_at(location)
