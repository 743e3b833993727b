"""Constants of a Python file, read from its syntax tree; nothing is imported or run.

Supported values are strings (joined by `+`, by adjacency, or by an f-string of constants), dicts,
lists and tuples of them, and names assigned earlier. Other statements are ignored unless their name
is requested.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

MAX_SOURCE_BYTES = 2 * 1024 * 1024
MAX_TEXT_CHARACTERS = 1_000_000

Constant = str | list["Constant"] | dict[str, "Constant"]


class SourceConstantError(ValueError):
    """A constant cannot be read; the message names the file and, if known, the line."""


class SourceConstants:
    """The module-level constants of one file.

    Raises:
        SourceConstantError: the file is missing, larger than 2 MiB, or not Python in UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = _read(path)
        self._values: dict[str, Constant] = {}
        self._problems: dict[str, str] = {}
        try:
            module = ast.parse(self.source, filename=str(path))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            raise SourceConstantError(
                f"{_place(path, line)}: not valid Python, or nested too deeply"
            ) from error
        for statement in module.body:
            self._assign(statement)

    @property
    def assigned(self) -> tuple[str, ...]:
        """Names assigned at module level, supported or not."""
        return (*self._values, *self._problems)

    @property
    def texts(self) -> dict[str, str]:
        """All string constants."""
        return {name: value for name, value in self._values.items() if isinstance(value, str)}

    def text(self, name: str) -> str:
        """A string constant.

        Raises:
            SourceConstantError: the name is not assigned, or not to a constant string.
        """
        value = self._value(name)
        if not isinstance(value, str):
            raise SourceConstantError(f"{self.path}: {name} is not a string")
        return value

    def table(self, name: str) -> dict[str, str]:
        """A dict constant from strings to strings.

        Raises:
            SourceConstantError: the name is not assigned, or not to a constant dict of strings.
        """
        value = self._value(name)
        if not isinstance(value, dict):
            raise SourceConstantError(f"{self.path}: {name} is not a dict")
        texts: dict[str, str] = {}
        for key, text in value.items():
            if not isinstance(text, str):
                raise SourceConstantError(f"{self.path}: {name}[{key!r}] is not a string")
            texts[key] = text
        return texts

    def _value(self, name: str) -> Constant:
        if name in self._problems:
            raise SourceConstantError(self._problems[name])
        if name not in self._values:
            lines = self.source.count("\n") + 1
            raise SourceConstantError(
                f"{self.path}: {name} is not assigned at module level in its {lines} lines"
            )
        return self._values[name]

    def _assign(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            return
        for target in targets:
            if not isinstance(target, ast.Name):
                continue
            self._values.pop(target.id, None)
            self._problems.pop(target.id, None)
            try:
                self._values[target.id] = _evaluate(value, self._values)
            except _NotConstantError as error:
                place = _place(self.path, error.line)
                self._problems[target.id] = f"{place}: {target.id} is not constant: {error}"
            except RecursionError:
                place = _place(self.path, value.lineno)
                self._problems[target.id] = f"{place}: {target.id} is nested too deeply"


class _NotConstantError(Exception):
    def __init__(self, node: ast.AST, what: str) -> None:
        super().__init__(what)
        self.line = getattr(node, "lineno", None)


def _evaluate(node: ast.expr, names: Mapping[str, Constant]) -> Constant:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate(item, names) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {
                _key(key, node, names): _evaluate(value, names)
                for key, value in zip(keys, values, strict=True)
            }
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _bounded(node, _text(left, names) + _text(right, names))
        case ast.JoinedStr(values=parts):
            return _bounded(node, "".join(_formatted(part, names) for part in parts))
    raise _NotConstantError(node, f"{type(node).__name__} is not a string, dict or list")


def _key(key: ast.expr | None, node: ast.expr, names: Mapping[str, Constant]) -> str:
    if key is None:
        raise _NotConstantError(node, "dict unpacking is not supported")
    return _text(key, names)


def _text(node: ast.expr, names: Mapping[str, Constant]) -> str:
    value = _evaluate(node, names)
    if not isinstance(value, str):
        raise _NotConstantError(node, "only strings can be joined")
    return value


def _formatted(part: ast.expr, names: Mapping[str, Constant]) -> str:
    if not isinstance(part, ast.FormattedValue):
        return _text(part, names)
    if part.conversion != -1 or part.format_spec is not None:
        raise _NotConstantError(part, "format specifications in f-strings are not supported")
    return _text(part.value, names)


def _bounded(node: ast.AST, text: str) -> str:
    # A few lines that double a name can produce more text than fits in memory.
    if len(text) > MAX_TEXT_CHARACTERS:
        raise _NotConstantError(
            node, f"it has {len(text)} characters; the limit is {MAX_TEXT_CHARACTERS}"
        )
    return text


def _place(path: Path, line: int | None) -> str:
    return f"{path}" if line is None else f"{path}, line {line}"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise SourceConstantError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_SOURCE_BYTES:
        raise SourceConstantError(
            f"{path}: the file is larger than the limit of {MAX_SOURCE_BYTES} bytes"
        )
    try:
        return data.decode("utf8")
    except UnicodeDecodeError as error:
        raise SourceConstantError(f"{path}: not UTF-8 at byte {error.start}") from error
