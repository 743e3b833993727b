"""Which model is asked, and how: found out once at the start, and kept in a run's `run.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.answers import write_whole
from benchmark.content import image_part, media_part, user_message
from benchmark.errors import BenchmarkError, RequestFailedError
from benchmark.http.client import Backend, ChatClient, server_root, shown
from benchmark.quality.chef_target import LIKELIHOODS_PATH
from benchmark.quality.examples import NO_EXAMPLES, ExamplePlan, Retriever
from benchmark.quality.recipe import Decoding, RecipeRun
from benchmark.quality.task_target import TASKS_PATH


class Mode(StrEnum):
    """How questions are asked: as the suite words them; closed ones by the most likely option, or
    as in ChEF; or in the tasks' own words, whose answers have scores.
    """

    TEXT = "text"
    LIKELIHOOD = "likelihood"
    CHEF = "chef"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Identity of a model. `fingerprint` identifies weights and prompt preset if the server gives
    one; for other backends it is the model id and the address. `recipe` is how it is asked;
    `examples`, `retriever` and `examples_seed` are those of `ExamplePlan`. `max_tokens` is the
    limit of every written answer; None for that of its task, or of the recipe.
    """

    url: str
    model: str
    fingerprint: str
    asked_at: str
    backend: str = Backend.LAMM.value
    mode: str = Mode.TEXT.value
    recipe: RecipeRun | None = None
    examples: int = 0
    retriever: str = Retriever.RANDOM.value
    examples_seed: int = 1
    max_tokens: int | None = None

    @property
    def plan(self) -> ExamplePlan:
        """How examples are drawn."""
        return ExamplePlan(self.examples, self.retriever, self.examples_seed)

    def save(self, path: Path) -> None:
        """Writes the identity as JSON.

        Raises:
            BenchmarkError: the file cannot be written.
        """
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> ModelIdentity:
        """The identity that `save` wrote.

        Raises:
            BenchmarkError: the file is missing, or not of this form.
        """
        try:
            value = json.loads(path.read_text(encoding="utf8"))
            recipe = value.pop("recipe", None)
            if recipe is not None:
                recipe = RecipeRun(**{**recipe, "decoding": Decoding(recipe["decoding"])})
                _ = recipe.recipe
            return cls(**value, recipe=recipe)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise BenchmarkError(f"cannot read the run {path}: {error}") from None


async def identify(
    client: ChatClient,
    url: str,
    model: str | None,
    backend: Backend,
    mode: Mode,
    recipe: RecipeRun | None = None,
    plan: ExamplePlan = NO_EXAMPLES,
    max_tokens: int | None = None,
) -> ModelIdentity:
    """Identifies the model at `url`.

    The answer of a LAMM service to a one-token request has its fingerprint; other servers are
    identified by model id and address.

    Raises:
        ServerGoneError: no connection after every attempt.
        RequestFailedError: refused, or no model is named.
        BenchmarkError: the backend does not support the mode.
    """
    if mode is not Mode.TEXT and backend is not Backend.LAMM:
        path = LIKELIHOODS_PATH if mode is Mode.CHEF else TASKS_PATH
        raise BenchmarkError(f"--mode {mode} needs {path}, which --backend {backend} does not have")
    url = shown(url)
    name = model or await client.first_model()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if backend is not Backend.LAMM:
        fingerprint = f"{name} at {server_root(url)}"
    else:
        fingerprint = await _fingerprint(client, name)
    return ModelIdentity(
        url,
        name,
        fingerprint,
        now,
        backend.value,
        mode.value,
        recipe,
        examples=plan.count,
        retriever=plan.retriever,
        examples_seed=plan.seed,
        max_tokens=max_tokens,
    )


async def _fingerprint(client: ChatClient, model: str) -> str:
    """The fingerprint of one token's answer.

    Upstream's prompt presets refuse a question without a medium, so a picture and a cloud are
    tried next.

    Raises:
        RequestFailedError: every question is refused; the error is that of the first.
    """
    refused: RequestFailedError | None = None
    for part in _probes():
        message = user_message("Hello", part)
        body = {"model": model, "messages": [message], "max_tokens": 1, "temperature": 0}
        try:
            return (await client.complete(body)).fingerprint or model
        except RequestFailedError as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            refused = refused or error
    assert refused is not None
    raise refused


def _probes() -> Iterator[dict[str, Any] | None]:
    yield None
    stream = BytesIO()
    Image.new("RGB", (8, 8), "grey").save(stream, "PNG")
    yield image_part(stream.getvalue(), "image/png")
    stream = BytesIO()
    np.save(stream, np.eye(3, dtype=np.float32))
    yield media_part(Path("probe.npy"), stream.getvalue())
