"""The published layout as data: the files, their names, record types and media folders.

Sources: the README of LAMM (file names, folders, number of records) and its evaluation scripts
(alternative names).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.datasets import benchmark_records as form
from training.datasets.published_records import (
    CloudInstruction,
    PictureInstruction,
    PublishedRecord,
)

META_FOLDER = "meta_file"
INSTRUCTION, LOCATING = "instruction", "locating"


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One published file.

    Attributes:
        folder: one of the four folders of the root; media paths are relative to it.
        names: the names of the file, the README's first.
        task: the task of the LAMM-Benchmark, or `INSTRUCTION`.
        record: the type of its records.
        media_folders: the folders next to `meta_file` that hold its media.
        count: the published number of records; a range where the README rounds, None where it
            gives none.
    """

    folder: str
    names: tuple[str, ...]
    task: str
    record: type[PublishedRecord]
    media_folders: tuple[str, ...]
    count: range | None = None


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A published file in a tree: `name` is its path relative to the root."""

    dataset: DatasetFile
    root: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def media_root(self) -> Path:
        """The folder that the records' media paths are relative to."""
        return self.root / self.dataset.folder


def _exactly(count: int) -> range:
    return range(count, count + 1)


def _thousands(count: int) -> range:
    # "49k" may be rounded or truncated.
    return range(count * 1000 - 500, (count + 1) * 1000)


def _instruct_2d(count: range, *names: str) -> DatasetFile:
    media = ("bamboo_images", "coco_images", "locount_images", "textvqa_images")
    return DatasetFile("2D_Instruct", names, INSTRUCTION, PictureInstruction, media, count)


def _benchmark_2d(task: str, record: type[PublishedRecord], media: str, *names: str) -> DatasetFile:
    return DatasetFile("2D_Benchmark", names, task, record, (f"{media}_images",))


def _benchmark_3d(task: str, record: type[PublishedRecord], *names: str) -> DatasetFile:
    return DatasetFile("3D_Benchmark", names, task, record, ("scannet_pcls",))


PUBLISHED_FILES: tuple[DatasetFile, ...] = (
    _instruct_2d(_thousands(49), "daily_dialogue_49k.json"),
    _instruct_2d(_thousands(49), "detailed_description_49k.json"),
    _instruct_2d(_thousands(42), "factual_knowledge_dialogue_42k.json"),
    _instruct_2d(_thousands(46), "vision_task_dialogue_46k.json"),
    # The README prints the first of these names and links to the second.
    _instruct_2d(_thousands(98), "LAMM_instruct_98k.json", "LAMM_2dinstruct_98k.json"),
    _instruct_2d(_thousands(140), "LAMM_instruct_140k.json", "LAMM_2dinstruct_140k.json"),
    _instruct_2d(_exactly(186_098), "LAMM_instruct_186k.json", "LAMM_2dinstruct_186k.json"),
    DatasetFile(
        "3D_Instruct",
        ("LAMM_3dinstruct_10k.json",),
        INSTRUCTION,
        CloudInstruction,
        ("3rscan_pcls", "shapenet_pcls"),
        _exactly(10_262),
    ),
    _benchmark_2d("classification", form.Classification, "cifar10", "Classification_CIFAR10.json"),
    _benchmark_2d("detection", form.Detection, "voc2012", "Detection_VOC2012.json"),
    _benchmark_2d(
        "vqa_choice", form.PictureChoice, "sqaimage", "VQA_SQAimage.json", "VQA_ScienceQA.json"
    ),
    _benchmark_2d("vqa_choice", form.PictureChoice, "ai2d", "VQA_AI2D.json"),
    _benchmark_2d("caption", form.Caption, "flickr30k", "Caption_flickr30k.json"),
    _benchmark_2d(
        "fine_grained_classification",
        form.Classification,
        "ucmerced",
        "Fine-grained_Classification_UCMerced.json",
    ),
    _benchmark_2d("counting", form.Counting, "fsc147", "Counting_FSC147.json"),
    _benchmark_2d("ocr_words", form.Words, "svt", "OCR_SVT.json"),
    _benchmark_2d("facial_smile", form.Smile, "celeba", "Facial_Classification_CelebA(Smile).json"),
    _benchmark_2d(
        "facial_hair", form.HairColour, "celeba", "Facial_Classification_CelebA(Hair).json"
    ),
    _benchmark_2d(
        "keypoints",
        form.Keypoints,
        "lsp",
        "Keypoints_Dectection_LSP.json",  # the README's spelling; the scripts open the next
        "Keypoints_Detection_LSP.json",
    ),
    _benchmark_2d(LOCATING, form.Detection, "voc2012", "Locating_VOC2012.json"),
    _benchmark_2d(LOCATING, form.Keypoints, "lsp", "Locating_LSP.json"),
    _benchmark_2d(LOCATING, form.CountedPoints, "fsc147", "Locating_FSC147.json"),
    _benchmark_3d("detection_3d", form.RoomDetection, "Detection_ScanNet.json"),
    _benchmark_3d("grounding_3d", form.Grounding, "VG_ScanRefer.json"),
    _benchmark_3d("vqa_choice_3d", form.CloudChoice, "VQA_ScanQA_multiplechoice.json"),
)

# Records of a whole benchmark without locating, which asks about pictures of the other sets.
PUBLISHED_TOTALS: Mapping[str, int] = {"2D_Benchmark": 62_439, "3D_Benchmark": 12_788}


def find_files(root: Path) -> Iterator[FoundFile]:
    """The published files in a tree, under each of their names."""
    for dataset in PUBLISHED_FILES:
        for name in dataset.names:
            relative = f"{dataset.folder}/{META_FOLDER}/{name}"
            if (root / relative).is_file():
                yield FoundFile(dataset, root, relative)


def parts() -> tuple[str, ...]:
    """What can be chosen from the benchmark: all of it, one dimension, or one task."""
    tasks = [dataset.task for dataset in PUBLISHED_FILES if dataset.task != INSTRUCTION]
    return ("all", "2d", "3d", *dict.fromkeys(tasks))


def benchmark_files(root: Path, part: str) -> Iterator[FoundFile]:
    """Benchmark files of a part, each under the first of its names that exists."""
    seen: set[str] = set()
    for file in find_files(root):
        dataset = file.dataset
        wanted = part in ("all", dataset.task, dataset.folder[:2].lower())
        if wanted and dataset.task != INSTRUCTION and dataset.names[0] not in seen:
            seen.add(dataset.names[0])
            yield file


def unknown_files(root: Path) -> Iterator[str]:
    """JSON files next to the published ones without a published name, relative to the root."""
    known = {f"{dataset.folder}/{META_FOLDER}/{name}" for dataset in PUBLISHED_FILES
             for name in dataset.names}  # fmt: skip
    for folder in dict.fromkeys(dataset.folder for dataset in PUBLISHED_FILES):
        for path in sorted((root / folder / META_FOLDER).glob("*.json")):
            relative = f"{folder}/{META_FOLDER}/{path.name}"
            if relative not in known:
                yield relative
