"""One benchmark record, a line of JSONL: data readers write it, training and benchmark read it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Sample(BaseModel):
    """A question about at most one medium, and what a right answer is.

    `image` and `pcl` are paths relative to the suite's directory; `size` is the image's width and
    height in pixels. `target` has the task's own form: a label, a count, `[{"label", "bbox"}]`,
    `{"choice", "choices"}`, a word ...; the task reads it.
    Unknown fields are kept out, so that readers may leave notes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    task: str
    question: str = Field(min_length=1)
    target: Any
    image: str | None = None
    pcl: str | None = None
    labels: tuple[str, ...] | None = None
    chance: float | None = Field(default=None, ge=0.0, le=1.0)
    size: tuple[PositiveInt, PositiveInt] | None = None

    @model_validator(mode="after")
    def _one_medium_at_most(self) -> Self:
        if self.image is not None and self.pcl is not None:
            raise ValueError("a sample has an image or a pcl, not both")
        return self

    @property
    def media(self) -> str | None:
        """Relative path of the medium, of either kind."""
        return self.image if self.image is not None else self.pcl
