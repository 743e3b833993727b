"""Which system text a task has, under the registry's names and under upstream's."""

from __future__ import annotations

import pytest

from lamm_model.conversation import NORMAL_SYSTEM, PromptPreset
from lamm_model.system_texts import system_text
from lamm_model.tasks import TASKS

TRAIN, BENCH = PromptPreset.LAMM_TRAIN, PromptPreset.UPSTREAM_BENCH
# The keys of upstream's two tables, each with its own name as its text.
TRAINING = {
    name: name
    for name in (
        "classification", "detection", "keypoint_detection", "VQA", "counting", "conversation",
        "description", "normal", "classification3d", "detection3d", "VQA3d", "visual_grounding3d",
    )
}  # fmt: skip
BENCHMARK = {
    name: name
    for name in (
        "Detection", "Classification", "VQA", "OCR", "Caption", "Counting", "Detection3D", "VG3D",
        "Fine-grained_Classification", "Facial_Classification", "Keypoints_Detection", "VQA3D",
        "VOC2012", "FSC147", "LSP",
    )
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_upstreams_benchmark_has_its_text(task: str) -> None:
    found = system_text({"normal": "n", **BENCHMARK}, BENCH, task)
    without = {"classification_3d", "point"}
    assert (found == "n") == (task in without)
    known = {
        "detection": "Detection", "facial_hair": "Facial_Classification", "ocr_words": "OCR",
        "facial_smile": "Facial_Classification", "vqa_choice_3d": "VQA3D", "locating": "VOC2012",
        "grounding_3d": "VG3D", "keypoints": "Keypoints_Detection", "caption": "Caption",
    }  # fmt: skip
    assert known.get(task, found) == found


def test_training_has_its_own_names() -> None:
    found = {task: system_text(TRAINING, TRAIN, task) for task in TASKS}
    assert found["detection"] == "detection"
    assert found["detection_3d"] == "detection3d"
    assert found["caption"] == "description"
    assert found["vqa_choice_3d"] == "VQA3d"
    # Upstream was not trained to read words.
    assert found["ocr_words"] == "normal"


def test_the_benchmark_s_text_comes_before_the_checkpoint_s_of_the_same_task() -> None:
    texts = {"detection": "ours", "Detection": "theirs", "counting": "ours"}
    assert system_text(texts, BENCH, "detection") == "theirs"
    assert system_text(texts, BENCH, "counting") == "ours"
    assert system_text(texts, TRAIN, "detection") == "ours"


def test_a_task_without_a_text_has_that_of_normal() -> None:
    assert system_text({"normal": "n"}, TRAIN, "detection") == "n"
    assert system_text({"normal": "n", "Detection": "d"}, TRAIN, "unheard of") == "n"
    assert system_text({}, TRAIN) == NORMAL_SYSTEM
