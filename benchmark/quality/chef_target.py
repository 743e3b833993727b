"""Closed questions answered as in ChEF: by the highest mean log-likelihood per token.

`POST /v1/likelihoods` scores ChEF's own answer texts after its own prompt. The typed routes rank
other texts, by sums. The best option is stored as the task renders it, and the options with their
means, so that answers are parsed and scored like any other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmark.errors import RequestFailedError
from benchmark.http.chat_answers import Usage
from benchmark.quality import chef_prompts
from benchmark.quality.likelihood_target import Ranking
from benchmark.suite import Item

LIKELIHOODS_PATH = "/v1/likelihoods"


def whole_prompt(item: Item, examples: Sequence[Item]) -> str:
    """The text of the message: the examples, then the question, as ChEF joins them."""
    return "\n".join(map(chef_prompts.example, examples)) + chef_prompts.prompt(item)


def encode_likelihoods(
    item: Item, examples: Sequence[Item], parts: Sequence[bytes], model: str
) -> bytes:
    """A request body around encoded content parts of `MediaCache`, the examples' media first."""
    fields = {
        "model": model,
        "prefix": chef_prompts.prefix(item),
        "continuations": chef_prompts.option_texts(item),
    }
    text = json.dumps({"type": "text", "text": whole_prompt(item, examples)}).encode()
    content = b",".join([*parts, text])
    head = json.dumps(fields).encode()[:-1]
    return b"".join([head, b',"messages":[{"role":"user","content":[', content, b"]}]}"])


def read_likelihoods(item: Item, body: bytes) -> Ranking:
    """The best option of an answer.

    Raises:
        RequestFailedError: the body does not have the likelihood of every option.
    """
    texts = chef_prompts.option_texts(item)
    try:
        value = json.loads(body)
        options = [
            {"option": str(one["continuation"]), "logprob": float(one["logprob"]),
             "mean_logprob": float(one["mean_logprob"]), "num_tokens": int(one["num_tokens"])}
            for one in value["data"]
        ]  # fmt: skip
        means = [float(one["mean_logprob"]) for one in value["data"]]
        if [option["option"] for option in options] != texts:
            raise ValueError("other options")
        usage = value["usage"]
        tokens = Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
        fingerprint = value.get("system_fingerprint")
    except (ValueError, LookupError, TypeError, AttributeError):
        shown = body[:200].decode("utf8", "replace")
        raise RequestFailedError(f"not the likelihoods of the options: {shown}") from None
    best = means.index(max(means))
    text = item.task.render(item.task.options(item.inputs)[best].answer, item.inputs)
    return Ranking(text, options, None, tokens, fingerprint)
