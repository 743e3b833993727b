"""An exported chat template gives the token ids that the service gives the same messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lamm_model.checkpoint.export.llava.chat_template import fitted_template, template_ids
from lamm_model.checkpoint.export.llava.tokenizer import llava_tokenizer
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.exceptions import RequestError
from service.files.quota import FileLimits
from service.files.store import FileStore
from service.media.remote_address import AllowedHosts
from service.media.sources import MediaAccess
from service.plan.prompt import InputLimits, PromptReader
from service.plan.sampling import SequenceLimits
from service.schemas.messages import ChatMessage

MINI = Path(__file__).parents[3] / "checkpoints" / "lamm-mini"
SPEC = CheckpointSpec.from_pretrained(MINI)
LAMM = LammTokenizer.from_pretrained(MINI)
TOKENIZER = llava_tokenizer(LAMM, SPEC.image_token_id)
TEMPLATE = fitted_template(SPEC, LAMM, TOKENIZER).text
MESSAGES = TypeAdapter(list[ChatMessage])
ACCESS = MediaAccess(FileStore(None, FileLimits(1, 1, 1, 1.0)), AllowedHosts(()))
READER = PromptReader(
    SPEC, LAMM, "mini", InputLimits(10_000, 16, 64, 1 << 20, SequenceLimits(8, 8))
)
PIECES = st.one_of(
    st.sampled_from(
        ("###", "####", "<img>", "</Pcl>", "<point_cloud>", "<", ">", " ", "\n", ".", "It")
    ),
    st.characters(codec="utf-8"),
)
# The service reads special tokens as text; the template breaks them up.
TEXTS = (
    st.lists(PIECES, max_size=10)
    .map("".join)
    .filter(lambda text: not any(token in text for token in ("<s>", "</s>", "<unk>")))
)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def parts(role: str) -> st.SearchStrategy[Any]:
    """A text, or a list of texts and, from users, pictures."""
    text = TEXTS.map(lambda text: {"type": "text", "text": text})
    one = st.one_of(text, st.just(IMAGE)) if role == "user" else text
    return st.one_of(TEXTS, st.lists(one, min_size=1, max_size=4))


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages in any order; most end with a user's."""
    roles = draw(st.lists(st.sampled_from(("system", "user", "user", "assistant")), max_size=6))
    last = ("user",) if draw(st.integers(0, 9)) or not roles else ()
    return [{"role": role, "content": draw(parts(role))} for role in (*roles, *last)]


@given(messages=requests())
@settings(max_examples=400)
def test_ids_are_the_service_s(messages: list[dict[str, Any]]) -> None:
    try:
        _, prompt, _ = READER.read(MESSAGES.validate_python(messages), ACCESS)
    except RequestError:
        with pytest.raises(jinja2.TemplateError):
            template_ids(TOKENIZER, TEMPLATE, messages)
        return
    found: list[int] = []
    for token in template_ids(TOKENIZER, TEMPLATE, messages):
        # A processor repeats the placeholder for each of the picture's tokens.
        found += [token] * (64 if token == SPEC.image_token_id else 1)
    assert found == list(prompt.ids)
