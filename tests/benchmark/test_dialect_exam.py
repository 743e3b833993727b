"""The exam of stand-ins that answer in other models' dialects: asked, stored, rescored, scored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from lamm_model.tasks.dialects.qwen import seen_size
from lamm_model.tasks.dialects.registry import DIALECTS
from lamm_model.tasks.label_sets import JOINTS
from tests.benchmark.conftest import FakeServer, png

SIZE = (640, 480)
Found = Sequence[tuple[str, tuple[float, ...]]]


def whole(place: Sequence[float], most: float, *, y_first: bool = False) -> list[int]:
    """Shares as whole numbers of another frame."""
    order = [i ^ 1 for i in range(len(place))] if y_first else range(len(place))
    return [min(int(most), round(place[i] * most)) for i in order]


def in_json(key: str, found: Found, most: float = 1000, *, y_first: bool = False) -> str:
    rows = [{key: whole(p, most, y_first=y_first), "label": label} for label, p in found]
    return f"```json\n{json.dumps(rows, indent=1)}\n```"


def pixels(place: Sequence[float], size: tuple[int, int]) -> list[int]:
    return [round(value * size[i % 2]) for i, value in enumerate(place)]


def qwen_2_5(found: Found) -> str:
    key = "bbox_2d" if len(found[0][1]) == 4 else "point_2d"
    size = seen_size(SIZE)
    return json.dumps([{key: pixels(p, size), "label": label} for label, p in found])


def qwen_2(found: Found) -> str:
    def corners(place: Sequence[float]) -> str:
        numbers = whole(place, 1000)
        return ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))

    return "".join(
        f"<|object_ref_start|>{label}<|object_ref_end|><|box_start|>{corners(p)}<|box_end|>"
        for label, p in found
    )


def kosmos(found: Found) -> str:
    def index(x: float, y: float) -> str:
        column, row = (min(31, int(32 * value)) for value in (x, y))
        return f"<patch_index_{32 * row + column:04d}>"

    said = " and".join(
        f"<phrase> a {label}</phrase><object>{index(*p[:2])}{index(*p[2:])}</object>"
        for label, p in found
    )
    return f"<grounding> An image of{said}."


def molmo(found: Found) -> str:
    return " ".join(
        f'<point x="{100 * x:.1f}" y="{100 * y:.1f}" alt="{label}">{label}</point>'
        for label, (x, y) in found
    )


def spatiallm(found: Found) -> str:
    lines = ["wall_0=Wall(0.0,0.0,0.0,4.0,0.0,0.0,2.8,0.0)"]
    for index, (label, (x, y, z, length, width, height)) in enumerate(found):
        # Every other box as a quarter turn of itself.
        yaw = math.pi / 2 if index % 2 else 0.0
        sides = (width, length) if index % 2 else (length, width)
        numbers = ",".join(f"{v}" for v in (x, y, z, round(yaw, 4), *sides, height))
        lines.append(f"bbox_{index}=Bbox({label.replace(' ', '_')},{numbers})")
    return "\n".join(lines)


def voc(found: Found) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, pixels(p, SIZE), strict=True))
        + "</bndbox></object>"
        for label, p in found
    )
    return f"```xml\n<annotation>{objects}</annotation>\n```"


def joined(form: str, between: str, frame: float, *, y_first: bool = False) -> Any:
    def speak(found: Found) -> str:
        return between.join(
            form.format(*whole(p, frame, y_first=y_first), label=label) for label, p in found
        )

    return speak


TABLE = "| Object | x1 | y1 | x2 | y2 |\n|---|---|---|---|---|\n"
ROWS = joined("| {label} | {0} | {1} | {2} | {3} |", "\n", 1000)
# Each dialect's stand-in for boxes, points or boxes in space, as the model's documents write them.
SPEAKERS: dict[tuple[str, str], Callable[[Found], str]] = {
    ("qwen2-vl", "box"): qwen_2,
    ("qwen2-vl", "point"): qwen_2,
    ("qwen2.5-vl", "box"): qwen_2_5,
    ("qwen2.5-vl", "point"): qwen_2_5,
    ("qwen3-vl", "box"): lambda f: in_json("bbox_2d", f),
    ("qwen3-vl", "point"): lambda f: in_json("point_2d", f),
    ("gemini", "box"): lambda f: in_json("box_2d", f, y_first=True),
    ("gemini", "point"): lambda f: in_json("point", f, y_first=True),
    ("internvl", "box"): joined("<ref>{label}</ref><box>[[{0}, {1}, {2}, {3}]]</box>", " ", 1000),
    ("kosmos-2", "box"): kosmos,
    ("shikra", "box"): lambda f: ", ".join(
        f"the {label} [{','.join(f'{v:.3f}' for v in p)}]" for label, p in f
    ),
    ("cogvlm", "box"): joined("a {label}[[{0:03d},{1:03d},{2:03d},{3:03d}]]", " and ", 1000),
    ("paligemma", "box"): joined(
        "<loc{0:04d}><loc{1:04d}><loc{2:04d}><loc{3:04d}> {label}", " ; ", 1023, y_first=True
    ),
    ("florence-2", "box"): joined("{label}<loc_{0}><loc_{1}><loc_{2}><loc_{3}>", "", 999),
    ("minigpt-v2", "box"): joined("<p>{label}</p> {{<{0}><{1}><{2}><{3}>}}", " ", 100),
    ("molmo", "point"): molmo,
    ("voc-xml", "box"): voc,
    ("markdown", "box"): lambda f: TABLE + ROWS(f),
    ("spatiallm", "box_3d"): spatiallm,
    ("json-3d", "box_3d"): lambda f: json.dumps(
        [{"bbox_3d": [*p, 0, 0, 0], "label": label} for label, p in f]
    ),
}  # fmt: skip
STATED = {"markdown": ["--frame", "0-1000"]}


def write_suite(directory: Path, kind: str, speak: Callable[[Found], str]) -> dict[str, str]:
    """A suite of 20 questions for each task of a kind; the answers of a model that is right."""
    tasks = {
        "box": {"detection": _objects},
        "point": {"locating": _objects, "keypoints": _joint},
        "box_3d": {"detection_3d": _objects_3d, "grounding_3d": _object_3d},
    }[kind]
    (directory / "media").mkdir(parents=True)
    (directory / "media/0.png").write_bytes(png(1))
    (directory / "media/0.npy").write_bytes(b"not read by the client")
    medium = {"pcl": "media/0.npy"} if kind == "box_3d" else {"image": "media/0.png", "size": SIZE}
    answers: dict[str, str] = {}
    for task, make in tasks.items():
        lines = []
        for index in range(20):
            question = f"{task}, try {index}?"
            target, found = make(index, kind)
            extra = {} if task in {"keypoints", "grounding_3d"} else {"labels": LABELS}
            answers[question] = f"<think>Is it a cat? [1, 2, 3, 4]</think>{speak(found)}"
            lines.append(json.dumps(
                {"id": f"{task}{index}", "task": task, "question": question, "target": target,
                 **medium, **extra}
            ))  # fmt: skip
        (directory / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
    rows = [{"name": task, "task": task, "file": f"{task}.jsonl"} for task in tasks]
    (directory / "suite.json").write_text(json.dumps({"name": "dialect", "rows": rows}))
    return answers


LABELS = ["cat", "dog", "traffic light", "lamp"]


def _boxes(index: int) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    for place in range(1 + index % 3):
        x, y = 0.03 + 0.31 * place, 0.05 + 0.02 * index
        yield LABELS[(index + place) % 4], (x, y, round(x + 0.28, 2), round(y + 0.33, 2))


def _objects(index: int, kind: str) -> tuple[Any, Found]:
    rows = [{"label": label, "bbox": box} for label, box in _boxes(index)]
    if kind == "box":
        return rows, list(_boxes(index))
    points = [(label, ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)) for label, b in _boxes(index)]
    return {"objects": rows}, points


def _joint(index: int, kind: str) -> tuple[Any, Found]:
    joints = [[20 + 40 * i, 30 + 20 * i + index] for i in range(14)]
    name = JOINTS[index % 14]
    x, y = joints[index % 14]
    target = {"joint": name, "joints": joints}
    return target, [(name, (x / SIZE[0], y / SIZE[1]))]


def _objects_3d(index: int, kind: str) -> tuple[Any, Found]:
    found = [
        (LABELS[i], (1.5 + i, 0.25 * index, 0.5, 1.5, 0.75, 1.0)) for i in range(1 + index % 3)
    ]
    return [{"label": label, "bbox": box} for label, box in found], found


def _object_3d(index: int, kind: str) -> tuple[Any, Found]:
    _, found = _objects_3d(index, kind)
    return found[0][1], found[:1]


@pytest.mark.parametrize(("dialect", "kind"), SPEAKERS)
def test_a_model_that_is_right_passes_in_its_dialect(
    dialect: str, kind: str, server: FakeServer, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.answers = write_suite(tmp_path / "suite", kind, SPEAKERS[dialect, kind])
    out = tmp_path / "out"
    argv = ["quality", "--data", str(tmp_path / "suite"), "--out", str(out)]
    backend = [] if kind == "box_3d" else ["--backend", "openai-chat"]
    manner = ["--dialect", dialect, *STATED.get(dialect, [])]
    assert bench([*argv, "--url", server.url, *backend, *manner]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["places"]["dialect"] == dialect
    for row in scores["rows"]:
        assert row["n"] == 20
        assert row["score"] >= 0.95, row
        assert row["unparsed"] == 0
        assert row["partial"] <= 0.05
    asked = len(server.asked)
    # The answers are kept as they were written: another dialect rescores them without a server.
    server.stop()
    assert bench([*argv, "--rescore"]) == 0
    assert json.loads((out / "scores.json").read_text())["places"]["dialect"] == "lamm"
    assert bench([*argv, "--rescore", *manner]) == 0
    assert json.loads((out / "scores.json").read_text())["rows"] == scores["rows"]
    assert len(server.asked) == asked
    assert f"places are read in dialect {dialect}" in capsys.readouterr().out


def test_a_report_reads_answers_in_the_dialect_of_the_run(
    server: FakeServer, tmp_path: Path
) -> None:
    server.answers = write_suite(tmp_path / "suite", "box", SPEAKERS["gemini", "box"])
    out = tmp_path / "out"
    argv = ["quality", "--data", str(tmp_path / "suite"), "--url", server.url]
    backend = ["--backend", "openai-chat", "--dialect", "gemini"]
    assert bench([*argv, *backend, "--out", str(out)]) == 0
    before = json.loads((out / "scores.json").read_text())
    server.stop()
    assert bench(["report", str(out), "--rescore", "--out", str(tmp_path / "report")]) == 0
    after = json.loads((out / "scores.json").read_text())
    assert (after["places"], after["rows"]) == (before["places"], before["rows"])


def test_every_dialect_takes_the_exam() -> None:
    assert {dialect for dialect, _ in SPEAKERS} == set(DIALECTS)


def test_upstream_has_no_score_under_another_dialect(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = write_suite(tmp_path / "suite", "box", SPEAKERS["gemini", "box"])
    argv = ["quality", "--data", str(tmp_path / "suite"), "--out", str(tmp_path / "out"),
            "--backend", "openai-chat", "--url", server.url, "--dialect", "gemini",
            "--protocol", "upstream-2023-07", "--protocol", "corrected-v1"]  # fmt: skip
    assert bench(argv) == 0
    upstream, corrected = json.loads((tmp_path / "out/scores.json").read_text())["protocols"]
    assert "cannot read dialect gemini" in json.dumps(upstream)
    assert corrected["score"] == 1.0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--dialect", "klingon", "'klingon' is not one of lamm, auto, cogvlm"),
        ("--frame", "0-7", "0-7"),
    ],
)
def test_an_unknown_manner_is_refused(
    flag: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench(["quality", "--rescore", flag, value])
    assert message in capsys.readouterr().err


def test_what_a_dialect_cannot_read_is_in_the_reports(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = write_suite(tmp_path / "suite", "box", SPEAKERS["kosmos-2", "box"])
    lost = "<phrase>cat</phrase><object><patch_index_0001><patch_index_4000></object>"
    server.answers = {question: text + lost for question, text in answers.items()}
    argv = ["quality", "--data", str(tmp_path / "suite"), "--out", str(tmp_path / "out"),
            "--backend", "openai-chat", "--url", server.url, "--dialect", "kosmos-2"]  # fmt: skip
    assert bench(argv) == 0
    items = [json.loads(line) for line in (tmp_path / "out/items.jsonl").read_text().splitlines()]
    assert {item["status"] for item in items} == {"partial"}
    assert all("patch index 4000 is not below 1024" in item["faults"][0] for item in items)
    assert "answers that the dialect could not read wholly: 20" in " ".join(
        capsys.readouterr().out.split()
    )
