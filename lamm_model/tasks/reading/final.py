"""The answer that a text ends with: without a model's thoughts, and without marks around it."""

from __future__ import annotations

# Marks around thoughts (Qwen3, DeepSeek-R1, GLM-4.5V; Kimi-VL) and around the answer after them.
_THOUGHTS = (("<think>", "</think>"), ("\u25c1think\u25b7", "\u25c1/think\u25b7"))
_ANSWERS = (("<answer>", "</answer>"), ("<|begin_of_box|>", "<|end_of_box|>"))


def final_answer(text: str) -> str:
    """The text after the thoughts, or what the last marks of an answer hold, empty ones left out.

    A closing mark without an opening one ends thoughts that the prompt opened; thoughts that do not
    end are cut off, and hold no answer. A text without marks is returned unchanged.
    """
    return text[slice(*answer_range(text))]


def answer_range(text: str) -> tuple[int, int]:
    """The range of a text that `final_answer` returns."""
    start, end = 0, len(text)
    for opening, closing in _THOUGHTS:
        if (at := text.rfind(closing, start, end)) >= 0:
            start = at + len(closing)
        if (at := text.find(opening, start, end)) >= 0:
            end = at
    for opening, closing in _ANSWERS:
        if text.find(opening, start, end) >= 0:
            held = [_before(closing, text, part) for part in _parts(opening, text, start, end)[1:]]
        elif text.find(closing, start, end) >= 0:
            held = _parts(closing, text, start, end)[:-1]
        else:
            continue
        start, end = next((one for one in reversed(held) if text[slice(*one)].strip()), (end, end))
    return start, end


def _parts(mark: str, text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The ranges between marks, as `str.split` gives them."""
    found: list[tuple[int, int]] = []
    while (at := text.find(mark, start, end)) >= 0:
        found.append((start, at))
        start = at + len(mark)
    return [*found, (start, end)]


def _before(mark: str, text: str, part: tuple[int, int]) -> tuple[int, int]:
    at = text.find(mark, *part)
    return (part[0], at) if at >= 0 else part
