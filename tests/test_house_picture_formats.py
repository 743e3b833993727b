"""Every list of the picture formats is that of the readers' table."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from benchmark.content import IMAGE_TYPES
from lamm_model.formats.pictures import picture, picture_size
from lamm_model.formats.pictures.picture_formats import (
    IMAGE_FORMATS,
    MEDIA_TYPES,
    PICTURE_FORMATS,
    PICTURE_SUFFIXES,
)
from lamm_model.formats.pictures.picture_kind import EXPECTED
from service.schemas.messages import ImagePart
from service.schemas.tasks import PictureTaskRequest

ROOT = Path(__file__).resolve().parents[1]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf8")


def names(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None, pattern
    return tuple(re.findall(r"\w+", re.sub(r"\bor\b", "", found[1])))


def test_each_format_has_a_reader_and_a_size() -> None:
    assert {*picture._OPENERS, *picture._READERS} == {*IMAGE_FORMATS}
    assert {*picture_size._READERS} == {*IMAGE_FORMATS}


def test_the_table_says_how_each_format_begins() -> None:
    for one in PICTURE_FORMATS:
        assert (one.signature is None) == bool(one.brands), one.name
    assert len(set(PICTURE_SUFFIXES)) == len(PICTURE_SUFFIXES)


def test_the_documents_list_them() -> None:
    assert names(r"\| picture \| (.*?) \|", read("docs/media.md")) == IMAGE_FORMATS
    assert names(r"\nPictures are (.*?);", read("README.md")) == IMAGE_FORMATS


def test_messages_and_the_openapi_document_list_them() -> None:
    assert names(r"one of (.*)$", EXPECTED) == IMAGE_FORMATS
    described = ImagePart.model_json_schema()["properties"]["image_url"]["description"]
    assert tuple(described.split(", ")) == IMAGE_FORMATS
    assert names(r"picture \((.*)\)", PictureTaskRequest.takes) == IMAGE_FORMATS


def test_the_page_takes_their_suffixes() -> None:
    page = read("service/web_ui/shared/medium.js")
    assert names(r"const PICTURES = \[\n(.*?)\n\];", page) == PICTURE_SUFFIXES
    accept = page.split("export const ACCEPT")[1].split(";")[0]
    assert "...PICTURES" in accept


def test_the_benchmark_sends_them() -> None:
    assert {f".{suffix}": kind for suffix, kind in MEDIA_TYPES.items()} == IMAGE_TYPES


def test_each_extra_exists_and_is_documented() -> None:
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    for one in PICTURE_FORMATS:
        if one.extra is not None:
            assert one.extra in extras
            assert f"`{one.extra}`" in read("docs/media.md")
            # The same decoder comes with the server.
            assert {*extras[one.extra]} <= {*extras["serve"]}
