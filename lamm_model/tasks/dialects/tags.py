"""Tags of an answer, each read by the standard library's HTML parser.

A tag needs no closing one, and no entities of the text's own are expanded. The parser sees one tag
at a time, since it takes quadratic time on some malformed texts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from typing_extensions import override

_TAG = re.compile(r"<(?P<closing>/?)(?P<name>[A-Za-z]\w{0,40})\b[^<>]{0,20000}>")


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag with its attributes and the text up to the next tag; `closes` for an end tag."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    closes: bool = False


class _Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found = {name: value or "" for name, value in attrs}


def tags_in(text: str) -> Iterator[Tag]:
    """The tags of a text in order, names in lower case."""
    found = list(_TAG.finditer(text))
    ends = [*(match.start() for match in found), len(text)][1:]
    for match, end in zip(found, ends, strict=True):
        parser = _Attributes()
        if not match["closing"]:
            parser.feed(match[0])
        held = html.unescape(text[match.end() : end])
        yield Tag(match["name"].casefold(), parser.found, held, bool(match["closing"]))
