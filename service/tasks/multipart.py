"""Multipart bodies of task requests: converts a form to the equivalent JSON body.

A form has one `file`, and fields: those of the request (`model`, `mode`, `overlay`, `max_tokens`
...), of the cloud (`CLOUD_FIELDS`), `inputs` as JSON, or the inputs one by one. A list is one field
per entry, or JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Mapping
from pathlib import PurePath
from typing import Any

from fastapi import Request, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message

from lamm_model.conversation import Modality
from lamm_model.formats.point_cloud import FORMATS
from lamm_model.media import POINT_CLOUD_SUFFIXES
from service.exceptions import ClientDisconnectedError, RequestError
from service.http.request_body import JsonBodyRoute
from service.media.headers import FileBytes, kind_of_bytes
from service.schemas.json_fault import json_fault
from service.schemas.tasks import MAX_FIELDS, CloudTaskRequest, TaskRequest
from service.tasks.models import CLOUD_FIELDS, list_fields

MAX_FORM_FIELDS = 1024
MAX_FIELD_BYTES = 1 << 18

# Suffixes of clouds only; a "bin" file may be anything.
_CLOUD_SUFFIXES = frozenset(POINT_CLOUD_SUFFIXES) - {"bin"}
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
_WORDS = {Modality.IMAGE: "picture", Modality.POINT_CLOUD: "point cloud"}


class TaskBodyRoute(JsonBodyRoute):
    """A route whose body is JSON or a form with the same content."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of JSON bodies, which also receives forms as JSON."""
        handle = super().get_route_handler()
        model = None if self.body_field is None else self.body_field.field_info.annotation
        if not isinstance(model, type) or not issubclass(model, TaskRequest):
            return handle

        async def handle_either(request: Request) -> Response:
            kind = request.headers.get("content-type", "").lower()
            if not kind.startswith("multipart/form-data"):
                return await handle(request)
            # No local name for the body: it would keep it in memory until the answer is complete.
            return await handle(_JsonRequest(request, await _read_json(request, model)))

        return handle_either


class _JsonRequest(Request):
    """The same request with another body."""

    def __init__(self, request: Request, body: bytes) -> None:
        headers = [h for h in request.scope["headers"] if h[0] not in _BODY_HEADERS]
        scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
        self._body_left: bytes | None = body
        self._next = request.receive
        super().__init__(scope, self._first_the_body)

    async def _first_the_body(self) -> Message:
        if self._body_left is None:
            return await self._next()  # waits for a disconnect
        body, self._body_left = self._body_left, None
        return {"type": "http.request", "body": body, "more_body": False}


_BODY_HEADERS = (b"content-type", b"content-length")


async def _read_json(request: Request, model: type[TaskRequest]) -> bytes:
    """The JSON body equivalent to a form."""
    form = await _read_form(request)
    try:
        file = _file_of(form)
        body = _body(model, file, _fields_of(form))
        content = await file.read()
    finally:
        await form.close()
    # Base64 takes milliseconds per megabyte.
    return body(await asyncio.to_thread(base64.b64encode, content))


async def _read_form(request: Request) -> FormData:
    _check_charset(request.headers["content-type"])
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=1, max_fields=MAX_FORM_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )  # fmt: skip
    # The memory of bodies is counted as they arrive; nothing is spooled to disk.
    parser.spool_max_size = 1 << 40
    try:
        return await parser.parse()
    except ClientDisconnect:
        raise ClientDisconnectedError from None
    except MultiPartException:
        raise RequestError(
            "the multipart form is malformed, or has more than 1 file, "
            f"{MAX_FORM_FIELDS} fields, or {MAX_FIELD_BYTES} bytes in a field",
            code="invalid_form",
        ) from None


def _check_charset(content_type: str) -> None:
    # The framework accepts any of Python's codecs, including slow and failing ones, and Python
    # caches every unknown name. RFC 7578 does not define this parameter.
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8")
    if charset.lower() not in _CHARSETS:
        shown = charset[:64].decode("latin-1")
        raise RequestError(
            f"the form's charset is {shown!r}; expected utf-8 or none", code="invalid_form"
        )


def _file_of(form: FormData) -> UploadFile:
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files or files[0][0] != "file":
        found = f"; found one in {files[0][0][:64]!r}" if files else ""
        raise RequestError(f"the form has no file in the field 'file'{found}", param="file")
    return files[0][1]


def _fields_of(form: FormData) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields.setdefault(name, []).append(value)
    if len(fields) > MAX_FIELDS:
        raise RequestError(
            f"the form has {len(fields)} different fields; the limit is {MAX_FIELDS}"
        )
    return fields


def _body(
    model: type[TaskRequest], file: UploadFile, fields: Mapping[str, list[str]]
) -> Callable[[bytes], bytes]:
    """A function that makes the JSON body from the file's base64.

    Raises:
        RequestError: the task takes another kind of medium.
    """
    medium = _medium(model, file, fields)
    lists = list_fields(model.model_fields["inputs"].annotation)
    inputs: Any = _parsed(fields["inputs"][-1], "inputs") if "inputs" in fields else {}
    rest: dict[str, Any] = {}
    for name, values in fields.items():
        if name == "inputs" or name in medium:
            continue
        if name == "logit_bias":
            rest[name] = _parsed(values[-1], name)
        elif name in model.model_fields:
            rest[name] = values[0] if len(values) == 1 else values
        elif isinstance(inputs, dict):
            inputs[name] = _listed(values, name) if name in lists else values[-1]
    rest["inputs"] = inputs
    before = f'{{"{model.medium}":{{"url":"data:application/octet-stream;base64,'.encode()
    more = "".join(f",{json.dumps(key)}:{json.dumps(value)}" for key, value in medium.items())
    after = f'"{more}}},{json.dumps(rest)[1:]}'.encode()
    # The base64 is inserted as bytes: in a Python object it would be copied two more times.
    return lambda text: b"".join((before, text, after))


def _medium(
    model: type[TaskRequest], file: UploadFile, fields: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The fields that describe how to read a cloud; none for a picture.

    The file's first bytes tell its kind; without a known signature, its name and type do. The field
    `format` makes a depth picture a cloud.
    """
    suffix = PurePath(file.filename or "").suffix.lower().lstrip(".")
    is_picture = (file.content_type or "").lower().startswith("image/")
    kind = kind_of_bytes(FileBytes(file.file, file.size or 0), suffix)
    file.file.seek(0)
    modality, format = kind or (None, suffix)
    if not issubclass(model, CloudTaskRequest):
        if modality is Modality.POINT_CLOUD or (modality is None and suffix in _CLOUD_SUFFIXES):
            raise _wrong_medium(model, Modality.POINT_CLOUD)
        return {}
    found: dict[str, Any] = {n: values[-1] for n, values in fields.items() if n in CLOUD_FIELDS}
    known = FORMATS.get(found.get("format", "").lower())
    is_picture = modality is Modality.IMAGE or (modality is None and is_picture)
    if is_picture and not (known is not None and known.is_picture):
        raise _wrong_medium(model, Modality.IMAGE)
    if "camera" in found:
        found["camera"] = _parsed(found["camera"], "camera")
    if "format" not in found and format not in POINT_CLOUD_SUFFIXES:
        raise RequestError(
            f"the file name's suffix {suffix[:16]!r} is not a point cloud format; give the field "
            f"'format', one of {', '.join(FORMATS)}",
            param="format",
        )
    return {"format": format, **found}


def _wrong_medium(model: type[TaskRequest], found: Modality) -> RequestError:
    return RequestError(
        f"the file is a {_WORDS[found]}; this task takes {model.takes}",
        param="file",
        code="wrong_medium",
    )


def _listed(values: list[str], name: str) -> Any:
    if len(values) == 1 and values[0].lstrip().startswith("["):
        return _parsed(values[0], name)
    return values


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the field {name!r} {json_fault(error)}", param=name) from None
