"""Where a text writes the label of a place, so that the label's tokens can be found."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lamm_model.tasks.reading.coordinates import Group
from lamm_model.tasks.reading.places import label_of
from lamm_model.tasks.reading.words import tokens

Span = tuple[int, int]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def label_span(
    text: str,
    groups: Sequence[Group],
    group: Group,
    label: str | None,
    labels: Sequence[str] | None,
) -> Span | None:
    """The range of the words that give a place its label; None without such words.

    A place without words of its own has the label of the place before it, and shares its range.

    Args:
        text: a tidy text.
        groups: all its places in order, `group` among them.
        label: the label of `group`, as `labelled` reads it.
        labels: the closed set, if there is one.
    """
    if label is None:
        return None
    first = text[: groups[0].start]
    leads = bool(label_of(first, labels) or label_of(first, None))
    for index in range(groups.index(group), -1, -1):
        start, end = _beside(text, groups, index, leads)
        if found := _words_of(label, text, start, end):
            return found
        # The label is spelled in a way of its own: all words beside the place give it.
        words = [match.span() for match in _WORD.finditer(text, start, end)]
        if words and (label_of(text[start:end], labels) or label_of(text[start:end], None)):
            return words[0][0], words[-1][1]
    return None


def _beside(text: str, groups: Sequence[Group], index: int, leads: bool) -> Span:
    """The range between a place and its neighbour that holds its label."""
    if leads:
        return (groups[index - 1].end if index else 0), groups[index].start
    following = groups[index + 1].start if index + 1 < len(groups) else len(text)
    return groups[index].end, following


def _words_of(label: str, text: str, start: int, end: int) -> Span | None:
    """The last words in a range that are the label's, whatever their case and number."""
    wanted = tokens(label)
    words = [match.span() for match in _WORD.finditer(text, start, end)]
    for last in range(len(words), 0, -1):
        for at in range(last - 1, max(-1, last - 1 - len(wanted)), -1):
            low, high = words[at][0], words[last - 1][1]
            if tokens(text[low:high]) == wanted:
                return low, high
    return None
