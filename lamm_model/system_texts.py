"""Which system text a task has: the service, training and the dataset check all ask `system_text`.

A table of texts has a checkpoint's own names, or those of upstream's programs (OpenLAMM @ d5ca246,
`conversation_dict`, `common_task2sysmsg`, `locating_task2sysmsg`). The tasks of the registry are
found under upstream's names too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lamm_model.conversation import NORMAL_SYSTEM, PromptPreset

NORMAL_TASK = "normal"

# Tasks of which upstream's training had a text; its other tasks were trained with `normal`.
_TRAINING: Mapping[str, str] = MappingProxyType(
    {
        "caption": "description",
        "classification_3d": "classification3d",
        "detection_3d": "detection3d",
        "fine_grained_classification": "classification",
        "grounding_3d": "visual_grounding3d",
        "keypoints": "keypoint_detection",
        "vqa": "VQA",
        "vqa_choice": "VQA",
        "vqa_choice_3d": "VQA3d",
    }
)
_BENCHMARK: Mapping[str, str] = MappingProxyType(
    {
        "caption": "Caption",
        "classification": "Classification",
        "counting": "Counting",
        "detection": "Detection",
        "detection_3d": "Detection3D",
        "facial_hair": "Facial_Classification",
        "facial_smile": "Facial_Classification",
        "fine_grained_classification": "Fine-grained_Classification",
        "grounding_3d": "VG3D",
        "keypoints": "Keypoints_Detection",
        # Upstream's texts of Locating are per data set; this one asks for all objects.
        "locating": "VOC2012",
        "ocr": "OCR",
        "ocr_words": "OCR",
        "vqa": "VQA",
        "vqa_choice": "VQA",
        "vqa_choice_3d": "VQA3D",
    }
)


def system_text(texts: Mapping[str, str], preset: PromptPreset, task: str = NORMAL_TASK) -> str:
    """The system text of a task; that of `normal` for a task without one.

    Args:
        texts: system texts by name.
        preset: the prompt preset, which decides between names: `upstream-bench` prefers the
            benchmark's name of a task, the others its own name.
        task: a task of the registry, or a name in `texts`.
    """
    if preset is PromptPreset.UPSTREAM_BENCH:
        names = (_BENCHMARK.get(task, task), task)
    else:
        names = (task, _TRAINING.get(task, task))
    found = next((name for name in names if name in texts), NORMAL_TASK)
    return texts.get(found, NORMAL_SYSTEM)
