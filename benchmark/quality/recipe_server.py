"""Checks that a server runs what a recipe needs, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.http.client import CHAT_PATH, ChatClient
from benchmark.quality.controls import Question
from benchmark.quality.recipe import Recipe, row_faults
from benchmark.quality.targets import Target
from benchmark.suite import Suite


async def check_server(client: ChatClient, model: str, recipe: Recipe, suite: Suite) -> None:
    """Compares the model's entry in `/v1/models` with a recipe.

    Raises:
        ServerGoneError, RequestFailedError: no answer.
        BenchmarkError: the message names everything that the server, or the suite, does not have.
    """
    card = await _card(client, model)
    _refuse([*row_faults(recipe, suite.rows), *_card_faults(card, recipe, suite)], recipe, model)


async def check_room(
    client: ChatClient, target: Target, recipe: Recipe, questions: Iterable[Question]
) -> None:
    """Checks that prompt and longest answer fit the model's context, for one question of each row.

    Raises:
        ServerGoneError, RequestFailedError: no answer.
        BenchmarkError: the message names the rows that do not fit.
    """
    faults = []
    for question in questions:
        try:
            body = target.body(question)
        except (BenchmarkError, OSError):
            continue  # asked, it fails by its own name
        told = (await client.post(f"{CHAT_PATH}/estimate", body)).json()
        if not told["fits"]:
            faults.append(
                f"row {question.item.row}: a prompt of {told['prompt_tokens']} tokens and an "
                f"answer of up to {told['max_tokens']} do not fit its context of "
                f"{told['max_model_len']}"
            )
    _refuse(faults, recipe, target.identity.model)


def _refuse(faults: Sequence[str], recipe: Recipe, model: str) -> None:
    if faults:
        raise BenchmarkError(
            f"--recipe {recipe.name} cannot be followed with model {model!r}:\n"
            + "\n".join(f"- {fault}" for fault in faults)
        )


async def _card(client: ChatClient, model: str) -> Mapping[str, Any]:
    try:
        listed = (await client.get("/v1/models")).json()["data"]
        return next(dict(card) for card in listed if card["id"] == model)
    except StopIteration:
        raise BenchmarkError(f"/v1/models does not list model {model!r}") from None
    except (ValueError, LookupError, TypeError):
        raise BenchmarkError("/v1/models is not a list of models") from None


def _card_faults(card: Mapping[str, Any], recipe: Recipe, suite: Suite) -> Iterator[str]:
    prompt = card.get("prompt_preset")
    if not isinstance(prompt, Mapping) or "system_texts" not in prompt:
        yield "its entry in /v1/models does not tell the prompt preset and its system texts"
        return
    if prompt.get("name") != recipe.prompt_preset:
        yield (
            f"its prompt preset is {prompt.get('name')!r}; the recipe needs "
            f"{recipe.prompt_preset!r}: serve with --prompt-preset {recipe.prompt_preset}"
        )
    if any(item.sample.image for row in suite.rows for item in row.items):
        yield from _image_faults(card, recipe)
    yield from _text_faults(prompt["system_texts"], recipe, suite)


def _image_faults(card: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    if card.get("image_preset") != recipe.image_preset:
        yield (
            f"its image preset is {card.get('image_preset')!r}; the recipe needs "
            f"{recipe.image_preset!r}: serve with --image-preset {recipe.image_preset}"
        )


def _text_faults(texts: Mapping[str, str], recipe: Recipe, suite: Suite) -> Iterator[str]:
    tasks = dict.fromkeys(map(recipe.task_of, suite.rows))
    wanted = {task: recipe.system_texts[task] for task in tasks if task in recipe.system_texts}
    if missing := [task for task in wanted if task not in texts]:
        yield (
            f"it has no system text of {', '.join(missing)}: serve with --prompt-pack, a file that "
            "lamm model import-prompts makes from OpenLAMM's commit d5ca246"
        )
    for task, digest in wanted.items():
        if texts.get(task, digest) != digest:
            yield (
                f"its system text of {task} has the digest {texts[task]}; the recipe's is {digest}"
            )
