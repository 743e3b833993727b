"""Places between tokens of a notation, with their labels before or after them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lamm_model.tasks.dialects.base import Telling, Told, shown, telling
from lamm_model.tasks.models import Numbers

# A run of places, and the words beside it.
_TAG = re.compile(r"</?[A-Za-z|][^<>]{0,40}>")


@dataclass(frozen=True, slots=True)
class Marked:
    """A notation with marks.

    Attributes:
        run: one match for the places that follow one another, all with one label.
        places: the numbers of each place of a run, or a sentence for what is not one.
        after: whether the label follows its places.
        label: matches the label's own marks, its group 1 the label; None: all words in between.
        in_prose: whether the words in between are sentences.
    """

    run: re.Pattern[str]
    places: Callable[[str], Iterator[Numbers | str]]
    scale: tuple[float, float] | None = None
    y_first: bool | None = None
    after: bool = False
    label: re.Pattern[str] | None = None
    in_prose: bool = False

    def read(self, text: str) -> Telling | None:
        """The places of a text; None without a mark."""
        runs = list(self.run.finditer(text))
        places: list[Told] = []
        faults: list[str] = []
        for index, run in enumerate(runs):
            if self.after:
                end = runs[index + 1].start() if index + 1 < len(runs) else len(text)
                words = text[run.end() : end]
            else:
                words = text[runs[index - 1].end() if index else 0 : run.start()]
            words = self._words(words)
            for found in self.places(run[0]):
                if isinstance(found, str):
                    faults.append(found)
                else:
                    places.append(
                        Told(
                            found, words, scale=self.scale, y_first=self.y_first,
                            in_prose=self.in_prose,
                        )
                    )  # fmt: skip
        return telling(places, faults)

    def _words(self, text: str) -> str:
        if self.label is not None:
            found = self.label.findall(text)
            return str(found[-1]).strip() if found else ""
        words = _TAG.sub(" ", text).strip()
        return words if self.in_prose else words.strip(" \n\t;,.:-*").strip()


def in_groups(found: list[float], size: int, raw: str) -> Iterator[Numbers | str]:
    """Numbers as places of `size` numbers each; a sentence if some are left over."""
    whole = len(found) // size * size
    for start in range(0, whole, size):
        yield tuple(found[start : start + size])
    if whole != len(found):
        yield f"{shown(raw)} has {len(found)} numbers; expected a multiple of {size}"
