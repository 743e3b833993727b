"""`/v1/files`: upload, list, retrieve, download and delete files, in OpenAI's format."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from service.dependencies import FilesDep, LifecycleDep, OwnerDep
from service.exceptions import ClientDisconnectedError, RequestError, StoredFileNotFoundError
from service.files.multipart import FileForm, read_file_form
from service.files.store import FileStore, Purpose, StoredFile
from service.http.request_body import release_body
from service.keys.auth import USER
from service.schemas.files import UPLOAD_FORM, FileDeleted, FileList, FileObject, UploadPurpose
from service.schemas.openai_answers import ErrorBody

PATH = "/v1/files"
router = APIRouter(prefix=PATH, tags=["files"], dependencies=[USER])

_MAX_PAGE = 10_000
_DEFAULT_PAGE = 1000
_SLICE = 1 << 18
_UPLOADED = (Purpose.VISION, Purpose.USER_DATA, Purpose.ASSISTANTS, Purpose.BATCH)
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 503)
}
_LIST_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 503)
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 408, 413, 503, 507)
}


@router.post("", responses=_ERRORS, openapi_extra=UPLOAD_FORM)
async def create_file(
    request: Request, files: FilesDep, owner: OwnerDep, lifecycle: LifecycleDep
) -> FileObject:
    """Stores a file, to be used as `file_id` of a picture or cloud, or as a batch's input.

    Uploading the same content again returns the same file and renews its expiry.
    """
    content_type = request.headers.get("content-type", "")
    with lifecycle.admit():
        async with files.receive(owner) as upload:
            try:
                form = await read_file_form(
                    content_type, request.stream(), upload.write, lambda: release_body(request)
                )
            except ClientDisconnect:
                raise ClientDisconnectedError from None
            stored = await upload.commit(form.filename, _purpose(form), _expiry_s(form))
    return _object(stored)


@router.get("", responses=_LIST_ERRORS)
async def list_files(
    files: FilesDep,
    owner: OwnerDep,
    purpose: UploadPurpose | Literal["batch_output"] | None = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _DEFAULT_PAGE,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=128)] = None,
) -> FileList:
    """Lists the key's files, newest first; `after` is the last id of the previous page."""
    return await asyncio.to_thread(_page, files, owner, purpose, limit, order, after)


@router.get("/{file_id}", responses=_NOT_FOUND)
async def retrieve_file(file_id: str, files: FilesDep, owner: OwnerDep) -> FileObject:
    """Returns a file's metadata."""
    return _object(await asyncio.to_thread(files.get, owner, file_id))


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses={**_NOT_FOUND, 200: {"content": {"application/octet-stream": {}}}},
)
async def retrieve_file_content(
    file_id: str, files: FilesDep, owner: OwnerDep
) -> StreamingResponse:
    """Returns a file's content."""
    stored = await asyncio.to_thread(files.get, owner, file_id)
    try:
        content = await asyncio.to_thread(_open, stored.path)
    except FileNotFoundError:
        raise StoredFileNotFoundError(file_id) from None
    headers = {
        "Content-Length": str(stored.bytes),
        # Never displayed by a browser as a page of this origin.
        "Content-Disposition": f"attachment; filename*=utf-8''{_quoted(stored.filename)}",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_slices(content), 200, headers, "application/octet-stream")


@router.delete("/{file_id}", responses=_NOT_FOUND)
async def delete_file(file_id: str, files: FilesDep, owner: OwnerDep) -> FileDeleted:
    """Deletes a file."""
    await files.delete(owner, file_id)
    return FileDeleted(id=file_id)


def _page(
    files: FileStore, owner: str, purpose: str | None, limit: int, order: str, after: str | None
) -> FileList:
    found = files.list_files(owner)
    if order == "desc":
        found.reverse()
    if after is not None:
        ids = [stored.id for stored in found]
        if after not in ids:
            raise RequestError(f"after is {after!r}; no stored file has that id", param="after")
        found = found[ids.index(after) + 1 :]
    chosen = [stored for stored in found if purpose is None or stored.purpose == purpose]
    page = [_object(stored) for stored in chosen[:limit]]
    return FileList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(chosen) > limit,
    )


def _object(stored: StoredFile) -> FileObject:
    return FileObject(
        id=stored.id,
        bytes=stored.bytes,
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        filename=stored.filename,
        purpose=stored.purpose.value,
    )


def _purpose(form: FileForm) -> Purpose:
    given = form.fields.get("purpose")
    if given not in _UPLOADED:
        known = ", ".join(_UPLOADED)
        what = "is missing" if given is None else f"is {given[:64]!r}"
        raise RequestError(f"purpose {what}; it must be one of {known}", param="purpose")
    return Purpose(given)


def _expiry_s(form: FileForm) -> float:
    """The expiry that the client asks for, if any; the store's own limit applies too."""
    given = form.fields.get("expires_after[seconds]")
    if given is None:
        return float("inf")
    if not given.isascii() or not given.isdigit() or not 0 < len(given) <= 9 or int(given) < 1:
        raise RequestError(
            f"expires_after[seconds] is {given[:64]!r}; it must be an integer of at least 1",
            param="expires_after[seconds]",
        )
    return float(given)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


async def _slices(content: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while piece := await asyncio.to_thread(content.read, _SLICE):
            yield piece
    finally:
        content.close()


def _quoted(name: str) -> str:
    return urllib.parse.quote(name.encode("utf8", "replace"), safe="")
