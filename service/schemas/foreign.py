"""Fields of OpenAI's and vLLM's APIs that ask for what is not done here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel

from service.schemas.absent import Refused

_FORMAT = "use response_format"
_NO_BEAMS = "answers are sampled one by one"
_TEXT_ONLY = "the prompt is that of the checkpoint"


class ForeignFields(BaseModel):
    """Fields of vLLM's chat, completion and response requests; harmless values are accepted."""

    use_beam_search: Annotated[Any, Refused(_NO_BEAMS, False)] = None
    guided_json: Annotated[Any, Refused(_FORMAT)] = None
    guided_regex: Annotated[Any, Refused(_FORMAT)] = None
    guided_choice: Annotated[Any, Refused("use /v1/likelihoods, or an enum in response_format")] = (
        None
    )
    guided_grammar: Annotated[Any, Refused(_FORMAT)] = None
    structured_outputs: Annotated[Any, Refused(_FORMAT)] = None
    allowed_token_ids: Annotated[Any, Refused("use logit_bias", [])] = None
    bad_words: Annotated[Any, Refused("use logit_bias", [])] = None
    prompt_logprobs: Annotated[Any, Refused("use /v1/likelihoods")] = None
    logprob_token_ids: Annotated[Any, Refused("use top_logprobs", [])] = None
    truncate_prompt_tokens: Annotated[Any, Refused("no prompt is ever cut")] = None
    include_stop_str_in_output: Annotated[
        Any, Refused("stop strings are never part of an answer", False)
    ] = None
    return_token_ids: Annotated[Any, Refused("use /tokenize", False)] = None
    return_tokens_as_token_ids: Annotated[Any, Refused("use /tokenize", False)] = None
    mm_processor_kwargs: Annotated[Any, Refused("media are prepared as the checkpoint says")] = None
    media_io_kwargs: Annotated[Any, Refused("media are prepared as the checkpoint says")] = None


class ForeignChatFields(ForeignFields):
    """Fields of OpenAI's and vLLM's chat requests."""

    modalities: Annotated[Any, Refused("answers are text", ["text"], [])] = None
    audio: Annotated[Any, Refused("answers are text")] = None
    web_search_options: Annotated[Any, Refused("nothing is searched")] = None
    prediction: Annotated[Any, Refused("no answer is predicted")] = None
    moderation: Annotated[Any, Refused("there is no moderation model")] = None
    best_of: Annotated[Any, Refused("use n, and choose among the answers", 1)] = None
    echo: Annotated[Any, Refused("use continue_final_message", False)] = None
    documents: Annotated[Any, Refused("put them into the messages", [])] = None
    chat_template: Annotated[Any, Refused(_TEXT_ONLY)] = None
