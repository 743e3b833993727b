"""The parts of requests and responses of `/v1/tasks` that all tasks share.

`service.tasks.models` derives each task's own models from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lamm_model.conversation import Modality
from lamm_model.media import IMAGE_FORMATS, POINT_CLOUD_FORMATS
from lamm_model.tasks.base import ParseStatus
from lamm_model.tasks.models import TaskModel
from service.schemas.media import CloudMedia, PictureMedia
from service.schemas.messages import ImagePart, ImageUrl, PointCloudPart, PointCloudUrl
from service.schemas.numbers import NumberFields
from service.schemas.openai import few_entries
from service.schemas.openai_answers import Usage

MAX_FIELDS = 64
# Far above the limits of the lists themselves, whose errors are more specific.
_MAX_LISTED = 4096

Mode = Literal["text", "likelihood"]


def few_fields(value: Any) -> Any:
    """The object without its null fields, which have the same effect as omitted ones.

    Refuses very many fields or entries, each of which would raise an error of its own.
    """
    if not isinstance(few_entries(value, MAX_FIELDS), dict):
        return value
    for name, entries in value.items():
        if isinstance(entries, list) and len(entries) > _MAX_LISTED:
            raise ValueError(
                f"{str(name)[:64]} has {len(entries)} entries; the limit is {_MAX_LISTED}"
            )
    return {name: entry for name, entry in value.items() if entry is not None}


class TaskRequest(NumberFields, ABC):
    """A request of one task about one medium. Each task's own model adds the sampling fields.

    `takes` describes the medium, `medium` is its field, `other` the field of the other modality.
    """

    model_config = ConfigDict(extra="forbid")

    takes: ClassVar[str] = ""
    medium: ClassVar[str] = ""
    other: ClassVar[str] = ""

    model: (
        Annotated[
            str, Field(max_length=256, description="default: the first that supports the task")
        ]
        | None
    ) = None
    inputs: Annotated[TaskModel, BeforeValidator(few_fields)]
    mode: Mode = "text"
    constrain: bool = False
    overlay: Literal["png", "ply"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _right_medium(cls, data: Any) -> Any:
        data = few_fields(data)
        if isinstance(data, dict) and cls.other in data:
            raise PydanticCustomError(
                "wrong_medium", "has {found}; this task takes {takes}",
                {"found": cls.other, "takes": cls.takes},
            )  # fmt: skip
        return data

    @abstractmethod
    def part(self) -> ImagePart | PointCloudPart:
        """The medium as a part of a chat message."""

    @abstractmethod
    def forget_medium(self) -> None:
        """Releases the medium's bytes; the fields that describe them remain."""


class PictureTaskRequest(TaskRequest):
    """A request about a picture."""

    takes: ClassVar[str] = f"a picture ({', '.join(IMAGE_FORMATS)}) in image_url"
    medium: ClassVar[str] = "image_url"
    other: ClassVar[str] = "point_cloud_url"

    image_url: ImageUrl

    def part(self) -> ImagePart:
        return ImagePart(type="image_url", image_url=self.image_url)

    def forget_medium(self) -> None:
        self.image_url.url = None


class CloudTaskRequest(TaskRequest):
    """A request about a point cloud."""

    takes: ClassVar[str] = f"a point cloud ({', '.join(POINT_CLOUD_FORMATS)}) in point_cloud_url"
    medium: ClassVar[str] = "point_cloud_url"
    other: ClassVar[str] = "image_url"

    point_cloud_url: PointCloudUrl

    def part(self) -> PointCloudPart:
        return PointCloudPart(type="point_cloud_url", point_cloud_url=self.point_cloud_url)

    def forget_medium(self) -> None:
        self.point_cloud_url.url = None


class ClippedPlace(BaseModel):
    """A place that was out of range, and its corrected numbers.

    `field` is its path in `answer`. `written` is the model's text; `given` and `used` are the
    numbers before and after, as shares of the sides of the model's input, or metres with z up after
    the `shift` of `media`.
    """

    field: str
    written: str
    given: list[float]
    used: list[float]


class Score(BaseModel):
    """How probable it is that an answer or a place is right, 0 to 1.

    If `calibrated`, `value` is a probability that was measured on held-out questions. Otherwise it
    follows from the model's own probabilities and only ranks answers of one task. `logprob` is the
    sum of the log-probabilities of the tokens (in mode `likelihood`: of the option's share).
    """

    value: Annotated[float, Field(ge=0, le=1)]
    calibrated: bool
    logprob: float


class PlaceScore(BaseModel):
    """The score of one place: right label, and near enough to be counted by the benchmark.

    `path` is the place in `answer`, as in `clipped`; `value` and `calibrated` are as in `Score`.
    `logprob` is that of its numbers, `label_logprob` that of its label, null if no words give one.
    """

    path: str
    value: Annotated[float, Field(ge=0, le=1)]
    calibrated: bool
    logprob: float
    label_logprob: float | None


class OptionLogprob(BaseModel):
    """One option of a closed set, and its probability.

    `logprob` is the log-probability of an answer that begins with the option, in any wording; the
    options rank by it. `probability` is relative to all options. `num_tokens` and
    `mean_logprob` (per token) are those of the most probable wording.
    """

    option: str
    logprob: float
    mean_logprob: float
    probability: float
    num_tokens: int


class TaskResponse(BaseModel):
    """An answer; `answer` is null exactly if `parse_status` is `unparsed`.

    `text` is the model's text (in mode `likelihood`: the best option's most probable wording).
    `clipped` lists places that were moved into range, `dropped` the text of places that could not
    be used. `score` is that of the whole answer, null without an answer; `scores` has one entry per
    place, in the order of `answer`. Both are null if the engine gives no log-probabilities.
    `options` is set only in mode `likelihood`, in the order of the labels or choices. `overlay` is
    a `data:` URL, or null if there is nothing to draw.
    """

    id: str
    object: Literal["task.answer"] = "task.answer"
    created: int
    model: str
    system_fingerprint: str
    task: str
    mode: Mode
    answer: Any
    parse_status: ParseStatus
    text: str
    finish_reason: Literal["stop", "length"] | None
    usage: Usage
    media: PictureMedia | CloudMedia
    clipped: list[ClippedPlace] = []
    dropped: list[str] = []
    score: Score | None = None
    scores: list[PlaceScore] | None = None
    options: list[OptionLogprob] | None = None
    overlay: str | None = None


class TaskCard(BaseModel):
    """One task: its schemas, its capabilities and a complete example request.

    `constrain`: whether its answers can be constrained to a form.
    """

    id: str
    object: Literal["task"] = "task"
    name: str
    modality: Modality
    description: str
    path: str
    medium: str
    models: list[str]
    modes: list[Mode]
    constrain: bool
    overlays: list[Literal["png", "ply"]]
    max_tokens: int
    inputs_schema: dict[str, Any]
    answer_schema: dict[str, Any]
    example: dict[str, Any]


class TaskList(BaseModel):
    """`GET /v1/tasks`."""

    object: Literal["list"] = "list"
    data: list[TaskCard]
