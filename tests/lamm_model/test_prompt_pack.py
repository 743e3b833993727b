"""Prompt packs from checkouts laid out as upstream's, and the presets that use them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lamm_model.conversation import STOP_RULES, Modality, PromptError, PromptPreset, Turn
from lamm_model.processing import LammProcessor
from lamm_model.prompt_pack import PACK_FILE, PromptPack, PromptPackError, import_prompts
from lamm_model.spec import CheckpointError, CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from tests.lamm_model.golden_prompts import GOLDEN, build_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONVERSATIONS = """
class Conversation:
    pass

simple = Conversation()
conv_templates = {"simple": simple}
conversation_dict = {
    "normal": "Talk kindly.",
    "VQA": "Talk kindly. " "Answer the question.",
}
"""
SYSTEM_MSG = '''
VQA_SYS = """
Answer what is asked.
"""
COUNT_SYS = """
Count what is asked.
"""
COUNT_QS = "How many {} are there?"
common_task2sysmsg = {'VQA': VQA_SYS, 'Counting': COUNT_SYS}
locating_task2sysmsg = {'VOC2012': "\\nSay where.\\n", 'VQA': "\\nSay where it is.\\n"}
'''
CLI_DEMO = 'import torch\nSYS_MSG = """\nTalk about the cloud.\n"""\nmain(torch)\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "upstream"
    for name, text in (
        ("src/model/conversations.py", CONVERSATIONS),
        ("src/datasets/system_msg.py", SYSTEM_MSG),
        ("src/cli_demo.py", CLI_DEMO),
        # Another package's file of the same name, and one that is not looked at.
        ("src/model/other/conversations.py", "conv = 1\n"),
        (".cache/system_msg.py", "x_sysmsg = {'Hidden': 'no'}\n"),
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/refs/heads/main", COMMIT + "\n"),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    return root


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The JSON of a checkpoint; without weights its digest comes from the provenance."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    image = {"size": 8, "num_tokens": 4, "preset": "lamm-squash", "mean": [0] * 3, "std": [1] * 3}
    files: dict[str, Any] = {
        "config.json": {
            "model_type": "lamm",
            "text_config": {"vocab_size": 32000, "max_position_embeddings": 64, "bos_token_id": 1},
            "image_token_id": 32000,
            "point_token_id": 32001,
        },
        "processor_config.json": {
            "prompt_preset": "lamm-train",
            "system_prompts": {"normal": "Ours.", "OCR": "Our OCR."},
            "image": image,
            "points": None,
        },
        "provenance.json": {"digest": "d"},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf8")
    golden = json.loads(GOLDEN.read_text(encoding="utf8"))
    merges = [tuple(pair) for pair in golden["merges"]]
    build_tokenizer(golden["vocabulary"], merges).save(str(folder / "tokenizer.json"))
    return folder


def test_a_checkout_becomes_a_pack(checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "packs" / "pack.json"
    counts = import_prompts(checkout, out)
    assert counts == {"train": 2, "benchmark": 4, "cli": 1, "constants": 3}
    pack = PromptPack.read(out)
    assert pack.train == {"normal": "Talk kindly.", "VQA": "Talk kindly. Answer the question."}
    assert pack.benchmark == {
        "VQA": "\nAnswer what is asked.\n",
        "Counting": "\nCount what is asked.\n",
        "VOC2012": "\nSay where.\n",
        "VQA.locating_task2sysmsg": "\nSay where it is.\n",
    }
    assert pack.cli == "\nTalk about the cloud.\n"
    assert pack.constants["COUNT_QS"] == "How many {} are there?"
    assert pack.source["commit"] == COMMIT
    assert pack.source["files"]["src/cli_demo.py"] == hashlib.sha256(CLI_DEMO.encode()).hexdigest()
    assert set(pack.source["files"]) == {
        "src/cli_demo.py",
        "src/datasets/system_msg.py",
        "src/model/conversations.py",
    }
    assert [path.name for path in out.parent.iterdir()] == ["pack.json"]


def test_files_may_stand_elsewhere_and_the_demo_may_be_missing(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "lamm").mkdir()
    shutil.move(checkout / "src/model/conversations.py", checkout / "lamm/conversations.py")
    (checkout / "src/cli_demo.py").unlink()
    shutil.rmtree(checkout / ".git")
    assert import_prompts(checkout, tmp_path / "pack.json")["cli"] == 0
    pack = PromptPack.read(tmp_path / "pack.json")
    assert (pack.cli, pack.source["commit"]) == (None, None)
    assert pack.train["normal"] == "Talk kindly."


@pytest.mark.parametrize(
    ("head", "packed", "commit"),
    [
        (COMMIT, "", COMMIT),
        ("ref: refs/heads/a.b", f"# pack-refs\n{COMMIT} refs/heads/a.b\n", COMMIT),
        ("ref: refs/heads/gone", "", None),
        ("ref: refs/../../secret", "", None),
        ("ref: /etc/passwd", "", None),
        ("no commit", "", None),
    ],
)
def test_the_commit_is_read_where_git_writes_it(
    checkout: Path, tmp_path: Path, head: str, packed: str, commit: str | None
) -> None:
    (checkout / "secret").write_text(COMMIT)
    (checkout / ".git/HEAD").write_text(head + "\n")
    (checkout / ".git/packed-refs").write_text(packed)
    import_prompts(checkout, tmp_path / "pack.json")
    assert PromptPack.read(tmp_path / "pack.json").source["commit"] == commit


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("src/model/conversations.py", None, "conversation_dict"),
        ("src/model/conversations.py", "a = 1\n", "conversation_dict is not assigned"),
        ("src/model/conversations.py", "conversation_dict = make()\n", "line 1: conversation_dict"),
        ("src/datasets/system_msg.py", None, r"system_msg\.py not found"),
        ("src/datasets/system_msg.py", "A = 'a'\n", r"no table named \*sysmsg\*"),
        (
            "src/datasets/system_msg.py",
            "import os\nx_sysmsg = {'a': os.sep}\n",
            r"system_msg\.py, line 2: x_sysmsg .* Attribute",
        ),
        ("src/datasets/system_msg.py", "#" * 3_000_000, "limit of 2097152 bytes"),
        ("src/cli_demo.py", "print('x')\n", r"cli_demo\.py: SYS_MSG is not assigned"),
    ],
)
def test_what_is_missing_or_hostile_is_named_and_nothing_is_written(
    checkout: Path, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    (checkout / name).unlink()
    if text is not None:
        (checkout / name).write_text(text, encoding="utf8")
    out = tmp_path / "pack.json"
    out.write_text("kept")
    with pytest.raises(PromptPackError, match=message):
        import_prompts(checkout, out)
    assert out.read_text() == "kept"


def test_two_files_that_disagree_are_refused(checkout: Path, tmp_path: Path) -> None:
    other = checkout / "src/model/other/conversations.py"
    other.write_text("conversation_dict = {'normal': 'Other.'}\n")
    with pytest.raises(PromptPackError, match="assign different values to conversation_dict"):
        import_prompts(checkout, tmp_path / "pack.json")


def test_links_and_pipes_are_passed_over(checkout: Path, tmp_path: Path) -> None:
    outside = tmp_path / "system_msg_outside.py"
    outside.write_text("x_sysmsg = {'Outside': 'no'}\n")
    (checkout / "src/system_msg_link.py").symlink_to(outside)
    os.mkfifo(checkout / "src/system_msg_pipe.py")
    assert import_prompts(checkout, tmp_path / "pack.json")["benchmark"] == 4


def test_more_text_than_a_pack_holds_is_refused(checkout: Path, tmp_path: Path) -> None:
    doubling = "".join(f"a{n + 1} = a{n} + a{n}\n" for n in range(16))
    names = "".join(f"b{n} = a16\n" for n in range(9))
    path = checkout / "src/datasets/system_msg.py"
    path.write_text(f"{SYSTEM_MSG}\na0 = '0123456789'\n{doubling}{names}")
    with pytest.raises(PromptPackError, match=r"the limit is 4000000"):
        import_prompts(checkout, tmp_path / "pack.json")


def test_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptPackError, match="is not a directory"):
        import_prompts(tmp_path / "nowhere", tmp_path / "pack.json")
    with pytest.raises(PromptPackError, match=r"conversations\.py not found"):
        import_prompts(tmp_path, tmp_path / "pack.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"format": "other"}', "format is 'other'"),
        ('{"format": "lamm-prompt-pack/1"}', "benchmark|train"),
        (
            '{"format": "lamm-prompt-pack/1", "train": {"a": 1}, "benchmark": {}, "constants": {}}',
            "train is not an object with string values",
        ),
        ('{"format": "lamm-prompt-pack/1", "cli": 3}', "cli is not a string"),
    ],
)
def test_broken_packs_are_refused(
    tmp_path: Path, checkpoint: Path, text: str, message: str
) -> None:
    path = tmp_path / "pack.json"
    path.write_text(text)
    with pytest.raises(PromptPackError, match=message):
        PromptPack.read(path)
    with pytest.raises(CheckpointError, match=message):
        CheckpointSpec.from_pretrained(checkpoint, prompt_pack=path)


def test_without_a_pack_presets_have_the_checkpoint_s_wording(checkpoint: Path) -> None:
    for preset in PromptPreset:
        spec = CheckpointSpec.from_pretrained(checkpoint, prompt_preset=preset.value)
        assert spec.prompt_preset is preset
        assert spec.stop_rule is STOP_RULES[preset]
        assert (spec.system_text(), spec.system_text("OCR")) == ("Ours.", "Our OCR.")
        assert spec.system_text("unheard of") == "Ours."


def test_presets_take_their_wording_from_the_checkpoint_s_pack(
    checkpoint: Path, checkout: Path
) -> None:
    import_prompts(checkout, checkpoint / PACK_FILE)
    train = CheckpointSpec.from_pretrained(checkpoint)
    assert (train.system_text(), train.system_text("OCR")) == ("Talk kindly.", "Our OCR.")
    bench = CheckpointSpec.from_pretrained(checkpoint, prompt_preset="upstream-bench")
    assert bench.system_text("Counting") == "\nCount what is asked.\n"
    assert bench.system_text("unheard of") == "Ours."
    cli = CheckpointSpec.from_pretrained(checkpoint, prompt_preset="upstream-cli")
    assert cli.system_text() == "\nTalk about the cloud.\n"


def test_a_pack_may_be_given(checkpoint: Path, checkout: Path, tmp_path: Path) -> None:
    import_prompts(checkout, tmp_path / "pack.json")
    spec = CheckpointSpec.from_pretrained(checkpoint, prompt_pack=tmp_path / "pack.json")
    assert spec.system_text("VQA") == "Talk kindly. Answer the question."
    with pytest.raises(CheckpointError, match="No such file"):
        CheckpointSpec.from_pretrained(checkpoint, prompt_pack=tmp_path / "missing.json")


def test_image_presets_are_chosen_by_name(checkpoint: Path) -> None:
    spec = CheckpointSpec.from_pretrained(checkpoint, image_preset="upstream-bench-centercrop")
    assert spec.image is not None
    assert spec.image.preset == "upstream-bench-centercrop"
    with pytest.raises(CheckpointError, match=r"unknown image preset 'crop'; expected .* lamm-squ"):
        CheckpointSpec.from_pretrained(checkpoint, image_preset="crop")
    with pytest.raises(CheckpointError, match=r"unknown prompt preset 'v1'; expected .* lamm-tr"):
        CheckpointSpec.from_pretrained(checkpoint, prompt_preset="v1")


def test_the_processor_writes_the_preset_it_was_given(checkpoint: Path, checkout: Path) -> None:
    import_prompts(checkout, checkpoint / PACK_FILE)
    processor = LammProcessor.from_pretrained(
        checkpoint, prompt_preset="upstream-cli", image_preset="upstream-bench-centercrop"
    )
    turns = [Turn("What is this?", media=(Modality.IMAGE,))]
    ids, labels = processor.encode_conversation(turns)
    tokenizer = LammTokenizer.from_pretrained(checkpoint)
    # The excerpt of the vocabulary has no pieces for most of the pack's words: bytes spell them.
    assert ids == [
        1,
        *tokenizer.encode("### Human: <Img>"),
        *[32000] * 4,
        *tokenizer.encode(
            "</Img> \nTalk about the cloud.\n### Human: What is this?\n\n### Assistant:"
        ),
    ]
    assert set(labels) == {-100}
    with pytest.raises(PromptError, match="upstream-cli"):
        processor("no picture")


def test_a_saved_processor_keeps_the_pack(checkpoint: Path, checkout: Path, tmp_path: Path) -> None:
    import_prompts(checkout, checkpoint / PACK_FILE)
    LammProcessor.from_pretrained(checkpoint).save_pretrained(tmp_path / "saved")
    assert PromptPack.read(tmp_path / "saved" / PACK_FILE).cli == "\nTalk about the cloud.\n"
