"""Token ids, labels, truncation, media and padding."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamm_model.processing import IGNORE_INDEX, LammProcessor
from lamm_model.spec import CheckpointSpec
from training.config import DataSource
from training.data.collator import collate
from training.data.dataset import DatasetError, InstructionDataset
from training.data.token_store import TokenStore


def dataset(processor: LammProcessor, *sources: DataSource, **options: Any) -> InstructionDataset:
    return InstructionDataset(sources, processor, **({"max_length": 512} | options))


def write(tmp_path: Path, *items: dict[str, Any]) -> DataSource:
    path = tmp_path / "made.json"
    path.write_text(json.dumps(items))
    return DataSource(path=path)


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def test_loss_is_on_the_answers_alone(processor: LammProcessor, tiny_source: DataSource) -> None:
    example = dataset(processor, tiny_source)[0]
    trained = example.labels != IGNORE_INDEX
    assert np.array_equal(example.labels[trained], example.input_ids[trained])
    assert processor.decode(example.labels[trained].tolist()) == "It is red.\n###A picture.\n###"
    assert (example.input_ids == processor.spec.image_token_id).sum() == 4
    text = processor.decode(example.input_ids[example.input_ids < 384].tolist())
    assert "### Human: <Img></Img> What colour is it?\n### Assistant:It is red.\n###" in text


def test_the_task_type_chooses_the_system_text(tiny_base: Path, tmp_path: Path) -> None:
    spec = CheckpointSpec.from_pretrained(tiny_base)
    changed = LammProcessor.from_pretrained(tiny_base)
    object.__setattr__(
        changed, "spec", _with_prompts(spec, {"normal": "Be kind.", "VQA": "Be brief."})
    )
    source = write(
        tmp_path,
        {"task_type": "VQA", "conversations": talk("q", "a")},
        {"task_type": "unheard of", "conversations": talk("q", "a")},
        {"conversations": talk("q", "a")},
        # The registry's name, as the service's route has it.
        {"task_type": "vqa_choice", "conversations": talk("q", "a")},
    )
    data = dataset(changed, source)
    starts = [changed.decode(data[i].input_ids.tolist()).split("\n")[0] for i in range(4)]
    assert starts == ["Be brief.", "Be kind.", "Be kind.", "Be brief."]


def _with_prompts(spec: CheckpointSpec, prompts: dict[str, str]) -> CheckpointSpec:
    values = {name: getattr(spec, name) for name in CheckpointSpec.__slots__}
    return CheckpointSpec(**(values | {"system_prompts": prompts}))


def test_long_records_lose_whole_turns_and_are_counted(
    processor: LammProcessor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(
        tmp_path,
        {"conversations": talk("q", "first", "q" * 300, "second")},
        {"conversations": talk("q" * 300, "never")},
        {"conversations": talk("q", "whole")},
    )
    with caplog.at_level(logging.WARNING):
        data = dataset(processor, source, max_length=200)
    assert (len(data), data.shortened, data.skipped) == (2, 1, 1)
    assert "1 records lost turns and 1 were dropped" in caplog.text
    answers = [processor.decode(_answers(data, index)) for index in range(2)]
    assert answers == ["first\n###", "whole\n###"]


def _answers(data: InstructionDataset, index: int) -> list[int]:
    labels = data[index].labels
    ids: list[int] = labels[labels != IGNORE_INDEX].tolist()
    return ids


def test_all_bad_records_are_listed(processor: LammProcessor, tmp_path: Path) -> None:
    source = write(tmp_path, *({"id": i, "conversations": []} for i in range(23)))
    with pytest.raises(DatasetError) as caught:
        dataset(processor, source)
    lines = str(caught.value).splitlines()
    assert lines[0] == "23 bad records:"
    assert "record 0 (id '0')" in lines[1]
    assert lines[-1] == "... and 3 more"
    with pytest.raises(DatasetError, match="No such file"):
        dataset(processor, DataSource(path=tmp_path / "none.json"))
    with pytest.raises(DatasetError, match="no records in"):
        dataset(processor, write(tmp_path))


def test_records_that_are_all_too_long_are_not_called_none(
    processor: LammProcessor, tiny_source: DataSource
) -> None:
    with pytest.raises(DatasetError, match=r"all 20 records in .* exceed 8 tokens"):
        dataset(processor, tiny_source, max_length=8)


def test_a_medium_that_went_after_tokenising_is_missed_at_once(
    processor: LammProcessor, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"read when it is trained on")
    source = write(tmp_path, {"id": "p", "image": "a.png", "conversations": talk("q", "a")})
    tokens = tmp_path / "tokens"
    dataset(processor, source, token_folder=tokens)
    (tmp_path / "a.png").unlink()
    with pytest.raises(
        DatasetError, match=r"record 0 \(id 'p'\): at line 1: media .* does not exist"
    ):
        dataset(processor, source, token_folder=tokens)


def test_a_corrupt_medium_names_its_record(processor: LammProcessor, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    source = write(tmp_path, {"id": "p", "image": "broken.png", "conversations": talk("q", "a")})
    data = dataset(processor, source)
    with pytest.raises(DatasetError, match=r"record 0 \(id 'p'\): .*broken.png: "):
        data[0]


def test_a_medium_without_an_encoder_is_refused(
    processor: LammProcessor, tiny_source: DataSource
) -> None:
    values = {name: getattr(processor.spec, name) for name in CheckpointSpec.__slots__}
    blind = LammProcessor(CheckpointSpec(**(values | {"points": None})), processor.tokenizer)
    with pytest.raises(DatasetError, match="the base checkpoint has no point_cloud encoder"):
        dataset(blind, tiny_source)


def test_a_batch_is_right_padded_with_its_media_in_order(
    processor: LammProcessor, tiny_source: DataSource
) -> None:
    data = dataset(processor, tiny_source)
    batch = collate([data[0], data[10], data[1]])
    lengths = data.lengths[[0, 10, 1]]
    assert batch.attention_mask.sum(-1).tolist() == lengths.tolist()
    assert batch.tokens == lengths.sum()
    assert (batch.labels[batch.attention_mask == 0] == IGNORE_INDEX).all()
    assert batch.pixel_values is not None
    assert batch.points is not None
    assert batch.pixel_values.shape == (2, 3, 32, 32)
    assert batch.points.shape == (1, 64, 3)
    assert torch.equal(batch.pixel_values[1], torch.from_numpy(data[1].media[0].array))
    assert batch.image_features is None
    assert batch.names[1].endswith("record 10 (id 'cloud-0')")


def test_token_ids_are_kept_for_the_next_start(
    processor: LammProcessor,
    tiny_source: DataSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = dataset(processor, tiny_source, token_folder=tmp_path)
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr(TokenStore, "append", None)  # a second tokenising would fail
    second = dataset(processor, tiny_source, token_folder=tmp_path)
    assert first.media_files == second.media_files
    for index in range(len(first)):
        assert first[index].name == second[index].name
        assert np.array_equal(first[index].input_ids, second[index].input_ids)
        assert np.array_equal(first[index].labels, second[index].labels)
    monkeypatch.undo()
    dataset(processor, tiny_source, token_folder=tmp_path, max_length=200)
    assert len(list(tmp_path.iterdir())) == 2
    assert file.exists()


def test_faults_of_a_repeated_source_are_counted_once(
    processor: LammProcessor, tmp_path: Path
) -> None:
    source = write(tmp_path, {"id": "p", "conversations": []})
    with pytest.raises(DatasetError, match=r"^1 bad records:\n[^\n]*$"):
        dataset(processor, DataSource(path=source.path, repeat=3))


def test_a_base_that_only_asks_is_refused(tiny_base: Path, tiny_source: DataSource) -> None:
    asking = LammProcessor.from_pretrained(tiny_base, prompt_preset="upstream-bench")
    with pytest.raises(DatasetError, match="preset 'upstream-bench', which has no place for answ"):
        dataset(asking, tiny_source)


def test_a_source_can_be_repeated(processor: LammProcessor, tiny_source: DataSource) -> None:
    assert len(dataset(processor, DataSource(path=tiny_source.path, repeat=3))) == 60
