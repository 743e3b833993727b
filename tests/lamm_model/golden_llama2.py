"""Prompts on Llama 2 chat as upstream's own functions build them, kept in `golden/`.

`python -m tests.lamm_model.golden_llama2 CHECKOUT` runs `make_prompt_start` and
`build_one_instance` of OpenLAMM `src/model/openlamm.py` @ 3085eef, with the template `llama2` of
`src/conversations.py`, on `CONVERSATIONS`, and writes their texts, ids and targets. CHECKOUT is a
git directory of OpenLAMM. The tokenizer is LLaMA's vocabulary from npm, with special tokens read
as transformers 4.31 reads them: each text between them is encoded by itself.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lamm_model.conversation import PromptPreset, Turn
from tests.lamm_model.golden_prompts import (
    CONVERSATIONS,
    SYSTEM,
    build_tokenizer,
    fetch_vocabulary,
)

GOLDEN = Path(__file__).with_name("golden") / "llama2_prompts.json"
COMMIT = "3085eef25d379acce78cf19066d2c6992a8c4dca"
_FUNCTIONS = {"build_one_instance", "make_prompt_start"}
_SPECIAL = {"<s>": 1, "</s>": 2}


class SlowTokenizer:
    """LLaMA's slow tokenizer as far as upstream's functions use it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer

    def __call__(self, text: str, *, add_special_tokens: bool) -> types.SimpleNamespace:
        assert not add_special_tokens
        ids: list[int] = []
        for part in filter(None, re.split("(</?s>)", text)):
            ids += (
                [_SPECIAL[part]]
                if part in _SPECIAL
                else self._tokenizer.encode(part, add_special_tokens=False).ids
            )
        return types.SimpleNamespace(input_ids=ids)


def upstream_functions(checkout: Path) -> dict[str, Any]:
    """Upstream's two functions, its template `llama2`, and its tags of media."""
    conversations = types.ModuleType("conversations")
    sys.modules["conversations"] = conversations
    exec(_file(checkout, "src/conversations.py"), conversations.__dict__)  # noqa: S102
    tree = ast.parse(_file(checkout, "src/model/openlamm.py"))
    tree.body = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name in _FUNCTIONS)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VISION_TAGS")
    ]
    names: dict[str, Any] = {"conversations": conversations}
    exec(compile(tree, "openlamm.py", "exec"), names)  # noqa: S102
    return names


def _file(checkout: Path, path: str) -> str:
    command = ["git", "-C", str(checkout), "show", f"{COMMIT}:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def upstream_prompt(
    names: dict[str, Any], tokenizer: SlowTokenizer, turns: list[Turn]
) -> dict[str, Any]:
    """The text and ids before the picture, and the texts, ids and targets after it."""
    template = names["conversations"].conv_templates["llama2"]
    names["conversations"].conversation_dict["golden"] = SYSTEM
    (start,) = names["make_prompt_start"](
        use_system=True, vision_type="image", task_type=["golden"], template=template
    )
    told = []
    for turn in turns:
        told.append({"from": "human", "value": turn.human})
        if turn.assistant is not None:
            told.append({"from": "gpt", "value": turn.assistant})
    texts, ids, targets = names["build_one_instance"](tokenizer, told, "image", template)
    before = tokenizer(start, add_special_tokens=False).input_ids
    return {"start": start, "start_ids": before, "texts": texts, "ids": ids, "targets": targets}


def main() -> None:
    """Writes the golden file."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = SlowTokenizer(build_tokenizer(*fetch_vocabulary(Path(folder))))
    names = upstream_functions(Path(sys.argv[1]))
    prompts = {
        name: upstream_prompt(names, tokenizer, turns)
        for name, (preset, turns) in CONVERSATIONS.items()
        if preset is PromptPreset.LLAMA2_CHAT
    }
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in prompts.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf8")
    sys.stdout.write(f"{GOLDEN.name}: {len(prompts)} prompts\n")


if __name__ == "__main__":
    main()
