"""Every list of the point-cloud formats is that of the readers."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from benchmark.content import CLOUD_FORMATS
from lamm_model.formats.clouds.npy import RGB_NAMES, XYZ_NAMES
from lamm_model.formats.point_cloud import FORMATS
from lamm_model.media import POINT_CLOUD_FORMATS, POINT_CLOUD_SUFFIXES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "service/web_ui/clouds"


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf8")


def words(pattern: str, text: str) -> set[str]:
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None, pattern
    return set(re.findall(r"\w+", found[1]))


def test_the_benchmark_sends_what_the_service_reads() -> None:
    assert CLOUD_FORMATS == POINT_CLOUD_SUFFIXES


def test_the_examples_send_what_the_service_reads() -> None:
    assert runpy.run_path(str(ROOT / "examples/ask.py"))["CLOUDS"] == POINT_CLOUD_SUFFIXES
    assert words(r"\n([a-z0-9 |]+)\)\n", read("examples/ask.sh")) == {*POINT_CLOUD_SUFFIXES}


def test_the_document_lists_them() -> None:
    document = read("docs/media.md")
    meshes = words(r"\| mesh \| (.*?) \|", document)
    assert meshes == {name for name, known in FORMATS.items() if "sample" in known.fields}
    clouds = words(r"\| point cloud \| (.*?) \|", document)
    depth = {name for name, known in FORMATS.items() if known.is_picture}
    assert words(r"\| depth picture \| (.*?) \|", document) == depth
    assert clouds | meshes | depth == {*POINT_CLOUD_FORMATS}


def test_the_page_takes_them() -> None:
    source = read("service/web_ui/clouds/read.js")
    tables = source.split("const TABLES = {")[1].split("\n};")[0]
    text = words(r"\[(.*?)\]\.map", tables.replace("[\n", "[", 1))
    own = set(re.findall(r"^  (\w+)[:,]", tables, re.MULTILINE))
    unseen = words(r"const UNSEEN = \[(.*?)\]", source)
    assert not unseen & (text | own)
    assert text | own | unseen == {*POINT_CLOUD_SUFFIXES}


def test_the_page_knows_which_axis_points_up() -> None:
    source = read("service/web_ui/clouds/read.js")
    y_up = {name for name, known in FORMATS.items() if known.up_axis == "y"}
    assert words(r"const Y_UP = \[(.*?)\]", source) == y_up


@pytest.mark.parametrize(("list_", "names"), [("XYZ", XYZ_NAMES), ("RGB", RGB_NAMES)])
def test_the_page_finds_arrays_by_the_same_names(list_: str, names: tuple[str, ...]) -> None:
    source = (PAGE / "numpy.js").read_text(encoding="utf8")
    found = re.search(rf"const {list_} = \[(.*?)\];", source, re.DOTALL)
    assert found is not None
    assert tuple(re.findall(r"\"(\w+)\"", found[1])) == names
