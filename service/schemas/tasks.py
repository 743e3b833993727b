"""What `/v1/tasks` takes and answers, as far as all tasks have it in common.

`task_models` makes each task's own models of these; `endpoints.tasks` and `task_runner` use them.
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
from service.schemas.openai import ImagePart, ImageUrl, PointCloudPart, PointCloudUrl, few_entries
from service.schemas.openai_answers import Usage

MAX_FIELDS = 64
# Far more than any list may have, which says so itself.
_MAX_LISTED = 4096

Mode = Literal["text", "likelihood"]


def few_fields(value: Any) -> Any:
    """Refuses very many fields, or entries of one, each of which would be an error of its own."""
    if not isinstance(few_entries(value, MAX_FIELDS), dict):
        return value
    for name, entries in value.items():
        if isinstance(entries, list) and len(entries) > _MAX_LISTED:
            raise ValueError(
                f"{str(name)[:64]} has {len(entries)} entries; the limit is {_MAX_LISTED}"
            )
    return value


class TaskRequest(BaseModel, ABC):
    """A question of one task about one medium. Each task's own model has its sampling fields too.

    `takes` are the words for the medium, `medium` the field that holds it, `other` the field that
    holds another task's.
    """

    model_config = ConfigDict(extra="forbid")

    takes: ClassVar[str] = ""
    medium: ClassVar[str] = ""
    other: ClassVar[str] = ""

    model: (
        Annotated[
            str, Field(max_length=256, description="left out: the first that can do the task")
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
        if isinstance(few_fields(data), dict) and cls.other in data:
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
        """Lets go of the medium's bytes; how to read it stays."""


class PictureTaskRequest(TaskRequest):
    """A question about a picture."""

    takes: ClassVar[str] = f"a picture ({', '.join(IMAGE_FORMATS)}) in image_url"
    medium: ClassVar[str] = "image_url"
    other: ClassVar[str] = "point_cloud_url"

    image_url: ImageUrl

    def part(self) -> ImagePart:
        """See `TaskRequest.part`."""
        return ImagePart(type="image_url", image_url=self.image_url)

    def forget_medium(self) -> None:
        """See `TaskRequest.forget_medium`."""
        self.image_url.url = None


class CloudTaskRequest(TaskRequest):
    """A question about a point cloud."""

    takes: ClassVar[str] = f"a point cloud ({', '.join(POINT_CLOUD_FORMATS)}) in point_cloud_url"
    medium: ClassVar[str] = "point_cloud_url"
    other: ClassVar[str] = "image_url"

    point_cloud_url: PointCloudUrl

    def part(self) -> PointCloudPart:
        """See `TaskRequest.part`."""
        return PointCloudPart(type="point_cloud_url", point_cloud_url=self.point_cloud_url)

    def forget_medium(self) -> None:
        """See `TaskRequest.forget_medium`."""
        self.point_cloud_url.url = None


class Transform(BaseModel):
    """How a picture was made to fit: pixel (x, y) stands at (x, y) * scale - offset.

    `size` is what the encoder saw; `squash` shows the whole picture, `centercrop` its middle.
    """

    kind: str
    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[int, int] = (0, 0)


class PictureMedia(BaseModel):
    """The picture: its size in pixels as a viewer shows it, after the EXIF orientation."""

    modality: Literal["image"] = Modality.IMAGE.value
    format: str
    width: int
    height: int
    exif_orientation_applied: bool
    transform: Transform


class CloudMedia(BaseModel):
    """The cloud: metres along the axes of the file; `units` and `up_axis` as they were sent.

    `points_sampled` points reached the encoder, drawn with `seed`; fewer `points_kept` than that
    mean that some were repeated. The model saw the coordinates times `scale`.
    """

    modality: Literal["point_cloud"] = Modality.POINT_CLOUD.value
    units: str
    up_axis: str
    points_in: int
    points_kept: int
    points_sampled: int
    seed: int
    has_color: bool
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    center: tuple[float, float, float]
    scale: float


class ClippedPlace(BaseModel):
    """A place that the model wrote outside of what is possible, and what was made of it.

    `field` is its place in `answer`. `written` are the model's words; `given` and `used` the
    numbers before and after, shares of the sides that the model saw, or metres with z up.
    """

    field: str
    written: str
    given: list[float]
    used: list[float]


class OptionLogprob(BaseModel):
    """One option of a closed set, and how probable it is.

    `logprob` is that of an answer which begins as the option may be written, all ways of writing it
    together; the options rank by it. `probability` is its share among the options. `num_tokens` and
    `mean_logprob`, a token's part, are those of the likeliest way.
    """

    option: str
    logprob: float
    mean_logprob: float
    probability: float
    num_tokens: int


class TaskResponse(BaseModel):
    """An answer; `answer` is null exactly when `parse_status` is `unparsed`.

    `text` is what the model wrote (in mode `likelihood`: the best option's
    likeliest beginning). `clipped` lists places
    that were moved into range, `dropped` the model's words for those that could not be used.
    `options` come in the order of the labels or choices, in mode `likelihood` alone. `overlay` is a
    `data:` URL, or null where there is nothing to draw.
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
    options: list[OptionLogprob] | None = None
    overlay: str | None = None


class TaskCard(BaseModel):
    """One task: what it takes and answers, and a body that can be sent as it is.

    `constrain`: whether its requests may ask for it.
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
