"""Which model is asked, and how: found out once at the start, and kept in a run's `run.json`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from benchmark.content import user_message
from benchmark.errors import BenchmarkError
from benchmark.http.client import Backend, ChatClient, server_root, shown
from benchmark.quality.chef_target import LIKELIHOODS_PATH
from benchmark.quality.examples import NO_EXAMPLES, ExamplePlan, Retriever
from benchmark.quality.likelihood_target import TASKS_PATH


class Mode(StrEnum):
    """How closed questions are answered: in text, by the most likely option, or as in ChEF."""

    TEXT = "text"
    LIKELIHOOD = "likelihood"
    CHEF = "chef"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Identity of a model. `fingerprint` identifies weights and prompt preset if the server gives
    one; for other backends it is the model id and the address. `examples`, `retriever` and
    `examples_seed` are those of `ExamplePlan`.
    """

    url: str
    model: str
    fingerprint: str
    asked_at: str
    backend: str = Backend.LAMM.value
    mode: str = Mode.TEXT.value
    examples: int = 0
    retriever: str = Retriever.RANDOM.value
    examples_seed: int = 1

    @property
    def plan(self) -> ExamplePlan:
        """How examples are drawn."""
        return ExamplePlan(self.examples, self.retriever, self.examples_seed)


async def identify(
    client: ChatClient,
    url: str,
    model: str | None,
    backend: Backend,
    mode: Mode,
    plan: ExamplePlan = NO_EXAMPLES,
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
        return ModelIdentity(
            url, name, f"{name} at {server_root(url)}", now, backend.value, mode.value
        )
    message = user_message("Hello", None)
    probe = await client.complete(
        {"model": name, "messages": [message], "max_tokens": 1, "temperature": 0}
    )
    fingerprint = probe.fingerprint or name
    drawn = (plan.count, plan.retriever, plan.seed)
    return ModelIdentity(url, name, fingerprint, now, backend.value, mode.value, *drawn)
