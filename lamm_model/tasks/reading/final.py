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
    for opening, closing in _THOUGHTS:
        if closing in text:
            text = text.rpartition(closing)[2]
        text = text.partition(opening)[0]
    for opening, closing in _ANSWERS:
        if opening in text:
            held = [part.partition(closing)[0] for part in text.split(opening)[1:]]
        elif closing in text:
            held = text.split(closing)[:-1]
        else:
            continue
        text = next((part for part in reversed(held) if part.strip()), "")
    return text
