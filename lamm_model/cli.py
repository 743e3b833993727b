"""The command `lamm`: finds a sub-command by its entry point and passes the arguments on.

Sub-commands are `function(argv: list[str]) -> int` in the entry-point group `lamm.commands`. A
package is imported only when one of its commands runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version

GROUP = "lamm.commands"
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """One line of `lamm --help`, and the extra that installs what the command imports."""

    summary: str
    extra: str | None = None


# Defined here rather than in the packages, so that the help imports none of them.
COMMANDS: Mapping[str, CommandHelp] = {
    "serve": CommandHelp("serve a checkpoint over HTTP", "serve"),
    "chat": CommandHelp("talk to a running service, with pictures and point clouds", "serve"),
    "task": CommandHelp("ask a running service for a typed answer about a file", "serve"),
    "engine": CommandHelp("install an engine with an environment of its own", "serve"),
    "train": CommandHelp("train projectors and LoRA from a recipe", "train"),
    "data": CommandHelp("fetch and prepare training and test data", "train"),
    "model": CommandHelp("convert, merge or inspect checkpoints", "train"),
    "bench": CommandHelp("measure a running service: answers, latency, throughput", "bench"),
}
_ROOMS = frozenset({"lamm_model", "service", "training", "benchmark"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `lamm ARGV...` and returns its exit status. Prints the help without arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(commands))
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"lamm {version('lamm')}")
        return 0
    name, *rest = arguments
    if name not in commands:
        known = ", ".join(_in_order(commands)) or "none; is lamm installed?"
        print(f"lamm: unknown command {name!r}; available: {known}", file=sys.stderr)
        return EXIT_USAGE
    return _run(commands[name], rest)


def _run(entry: EntryPoint, argv: list[str]) -> int:
    try:
        status: int = entry.load()(argv)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in _ROOMS:
            raise  # a defect in this project; installing a package would not help
        print(f"lamm {entry.name}: {_missing_package(entry.name, package)}", file=sys.stderr)
        return 1
    return status


def _missing_package(command: str, package: str) -> str:
    described = COMMANDS.get(command)
    extra = described.extra if described else None
    remedy = f"pip install 'lamm[{extra}]'" if extra else f"pip install {package}"
    return f"the package {package!r} is not installed; try: {remedy}"


def _help(commands: Mapping[str, EntryPoint]) -> str:
    lines = [
        "usage: lamm COMMAND [ARGUMENTS...]",
        "",
        "A language model that sees pictures and point clouds.",
        "",
        "commands:",
    ]
    for name in _in_order(commands):
        described = COMMANDS.get(name)
        summary = described.summary if described else f"added by {commands[name].value}"
        lines.append(f"  {name:<8} {summary}")
    lines += ["", "`lamm COMMAND --help` explains a command; `lamm --version` names this version."]
    return "\n".join(lines)


def _in_order(commands: Mapping[str, EntryPoint]) -> list[str]:
    """The project's commands in the order of first use, then those of other distributions."""
    return [name for name in COMMANDS if name in commands] + sorted(commands.keys() - COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
