"""Writes the table of tasks in docs/tasks.md from the registry: `python scripts/task_table.py`.

`--check` writes nothing and exits with 1 where the table is not the registry's. A path as the last
argument names another file with the same two markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from lamm_model.tasks import TASKS
from service.tasks.models import TaskModels

DOCUMENT = Path(__file__).parents[1] / "docs" / "tasks.md"
BEGIN = "<!-- Written by scripts/task_table.py -->\n\n"
END = "\n<!-- end of the table -->\n"


def table() -> str:
    """A row per task: its name and description, its inputs, and its answer as it is served."""
    rows = [
        "| task | description | inputs (`?`: may be left out) | answer |",
        "| --- | --- | --- | --- |",
    ]
    for task in TASKS.values():
        made = TaskModels.of(task)
        schema = made.inputs.model_json_schema()
        required = schema.get("required", ())
        inputs = [f"`{name}{'' if name in required else '?'}`" for name in schema["properties"]]
        answer = ", ".join(_fields(made.answer))
        rows.append(f"| `{task.name}` | {task.description} | {', '.join(inputs)} | {answer} |")
    return "\n".join([*rows, ""])


def main(arguments: list[str]) -> int:
    """The exit status."""
    check = "--check" in arguments
    path = Path(arguments[-1]) if arguments and arguments[-1] != "--check" else DOCUMENT
    before, _, rest = path.read_text(encoding="utf8").partition(BEGIN)
    old, _, after = rest.partition(END)
    if old == table():
        return 0
    if check:
        print(f"{path}: the table is not the registry's; write it with scripts/task_table.py")
        return 1
    path.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf8")
    return 0


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """Field names; those of a list's items follow the list's own."""
    for name, info in model.model_fields.items():
        items = [kind for kind in get_args(info.annotation) if _is_model(kind)]
        inner = [part for kind in items for part in _fields(kind)]
        yield f"`{name}`: {', '.join(inner)}" if inner else f"`{name}`"


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
