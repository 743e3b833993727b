"""Input that is well-formed and means harm: refused before it costs anything, and by name."""

from __future__ import annotations

import io
import time
import zipfile

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from lamm_model.formats.errors import MediaDecodeError
from lamm_model.media import MediaLimits, decode_point_cloud
from lamm_model.tasks import TASKS
from service.answer.streaming import choice_logprobs
from service.engine.base import TokenLogprob
from service.schemas.batches import CreateBatchRequest
from service.schemas.openai import MAX_BIASES, ChatCompletionRequest
from service.tasks.models import TaskModels

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER], "logit_bias": {str(k): "z" for k in range(200_000)}},
        {"messages": [{"role": "user", "content": [{"type": "?"}] * 200_000}]},
        {"messages": [{"role": "?"}] * 200_000},
    ],
    ids=["logit_bias", "parts", "messages"],
)
def test_a_large_body_of_faults_makes_few_errors(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatCompletionRequest.model_validate({"model": "m", **fields})
    assert caught.value.error_count() <= 2


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (CreateBatchRequest, {"metadata": {str(k): 1 for k in range(100_000)}}),
        (TaskModels.of(TASKS["classification"]).request, {"inputs": {"labels": [1] * 100_000}}),
        (TaskModels.of(TASKS["vqa_choice"]).request, {"inputs": {"choices": [1] * 100_000}}),
    ],
    ids=["metadata", "labels", "choices"],
)
def test_a_large_field_of_faults_makes_few_errors(
    model: type[BaseModel], fields: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match="100000 entries; the limit is") as caught:
        model.model_validate(fields)
    assert caught.value.error_count() < 9


def test_the_limit_of_biases_is_named() -> None:
    body = {"model": "m", "messages": [USER], "logit_bias": {str(k): 0.0 for k in range(1025)}}
    with pytest.raises(ValidationError, match=f"1025 entries; the limit is {MAX_BIASES}"):
        ChatCompletionRequest.model_validate(body)


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff"])
def test_half_a_surrogate_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="valid Unicode"):
        ChatCompletionRequest.model_validate(
            {"model": "m", "messages": [{"role": "user", "content": text}]}
        )


def _broken_npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, points=np.random.default_rng(0).random((500, 3)))
    data = bytearray(stream.getvalue())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        start = archive.infolist()[0].header_offset + 60
    for k in range(start, start + 300):
        data[k] ^= 0x5A
    return bytes(data)


def _npy_with_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (_broken_npz(), "npz"),
        (_npy_with_header(b"{'descr': (\n"), "npy"),
        (_npy_with_header(b"{'descr': (), 'fortran_order': False, 'shape': (1, 3)}\n"), "npy"),
    ],
    ids=["deflate", "unfinished header", "empty descr"],
)
def test_corrupt_arrays_are_the_senders_fault(data: bytes, kind: str) -> None:
    with pytest.raises(MediaDecodeError):
        decode_point_cloud(data, kind, limits=MediaLimits())


def test_a_pcd_field_of_a_million_values_costs_nothing() -> None:
    header = (
        "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 999999999999999\n"
        "WIDTH 1\nHEIGHT 1\nPOINTS 1\nDATA ascii\n0 0 0\n"
    )
    started = time.perf_counter()
    with pytest.raises(MediaDecodeError, match="COUNT 999999999999999"):
        decode_point_cloud(header.encode(), "pcd", limits=MediaLimits())
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("value", [3e38, -1.1e6])
def test_coordinates_beyond_any_scan_are_refused_with_the_limit(value: float) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([[0, 0, 0], [0, 0, 1], [0, value, 0]], np.float32))
    with pytest.raises(MediaDecodeError, match=r"more than 1e\+06 m from the median"):
        decode_point_cloud(stream.getvalue(), "npy", limits=MediaLimits())


def test_logprobs_of_a_byte_token_hold_the_byte() -> None:
    found = choice_logprobs([TokenLogprob(7, "bytes:\\xf0", -1.0), TokenLogprob(8, " a", -1.0)])
    assert found is not None
    assert found.content is not None
    assert [entry.bytes for entry in found.content] == [[0xF0], [0x20, 0x61]]
