"""A benchmark record, a JSONL line: written by data readers, read by training and benchmark."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Sample(BaseModel):
    """A question about at most one medium, and its target.

    `image` and `pcl` are paths relative to the suite's directory; `size` is the image's width and
    height in pixels. The form of `target` depends on the task, which reads it: a label, a count,
    `[{"label", "bbox"}]`, `{"choice", "choices"}`, a word ... `query` is set where a published file
    asks in other words, which do not tell its questions apart.
    Unknown fields are ignored, so that readers may add notes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    task: str
    question: str = Field(min_length=1)
    query: str | None = Field(default=None, min_length=1)
    target: Any
    image: str | None = None
    pcl: str | None = None
    labels: tuple[str, ...] | None = None
    chance: float | None = Field(default=None, ge=0.0, le=1.0)
    size: tuple[PositiveInt, PositiveInt] | None = None

    @model_validator(mode="after")
    def _one_medium_at_most(self) -> Self:
        if self.image is not None and self.pcl is not None:
            raise ValueError("a sample has both an image and a pcl; expected one of them or none")
        return self

    @property
    def media(self) -> str | None:
        """Relative path of the medium."""
        return self.image if self.image is not None else self.pcl
