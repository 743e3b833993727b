"""Texts that upstream's training wrote around questions and answers, one layout a language model.

Vicuna: OpenLAMM `src/model/openlamm.py` @ d5ca246. Llama 2 chat: the same file and
`src/conversations.py` (template `llama2`) @ 3085eef, of September 2023, which published the
checkpoint of Llama 2. Three readings had to be chosen for Llama 2:

- Upstream fills Meta's format by the rule of its other templates. So a colon follows `[INST]` and
  `[/INST]`, two blanks precede them, and a system text gets an `[INST]` of its own.
- At that commit, training wrote a blank after `[/INST]:`, and the programs that ask did not.
  Training lost the blank in February 2024 (c849ad8). This layout is that of the checkpoint's
  training.
- An answer ends with a line break, `<s>` and `</s>`; the next question follows without BOS.
  Upstream padded with `</s>`, so training hid this token from later turns. Serving shows it to
  them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """Texts around the parts of a conversation.

    `first_human` precedes the first question, `human` a later one, and `assistant` an answer. An
    answer is followed by `answer_end` and then by `end_tokens`, special tokens by their pieces.
    """

    before_system: str
    after_system: str
    first_human: str
    human: str
    assistant: str
    answer_end: str
    end_tokens: tuple[str, ...] = ()


VICUNA = PromptLayout(
    before_system="",
    after_system="\n\n",
    first_human="### Human: ",
    # The "###" that ended an answer also begins the next turn.
    human="Human: ",
    assistant="### Assistant:",
    answer_end="\n###",
)
LLAMA2_CHAT = PromptLayout(
    before_system="[INST]<<SYS>>\n",
    after_system="\n<</SYS>>\n\n",
    first_human="  [INST]: ",
    human="[INST]: ",
    assistant="  [/INST]: ",
    answer_end="\n",
    end_tokens=("<s>", "</s>"),
)
