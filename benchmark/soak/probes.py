"""Probes a server under load from a separate process, which does not share the load's GIL.

    python -m benchmark.soak.probes --url http://127.0.0.1:8000 --interval 0.1

Probes until standard input ends. Prints one line after the first probes, and a JSON object at the
end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from benchmark.errors import BenchmarkError
from benchmark.load.metrics import percentile

PROBES = ("/livez", "/readyz", "/health")
_TIMEOUT_S = 5.0


@dataclass(slots=True)
class ProbeLog:
    """Results of one probe: latencies in seconds, and counts by status.

    Requests without an answer are counted under the name of their error. `worst` is the longest
    latency in each second of the test.
    """

    latencies: list[float] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    worst: dict[int, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def note(self, answer: str, seconds: float | None) -> None:
        """Records one answer, or an error if `seconds` is None."""
        self.answers[answer] = self.answers.get(answer, 0) + 1
        if seconds is not None:
            self.latencies.append(seconds)
            second = int(time.perf_counter() - self.started)
            self.worst[second] = max(seconds, self.worst.get(second, 0.0))

    def as_json(self) -> dict[str, Any]:
        """Counts, and latencies in milliseconds."""
        ordered = sorted(1000 * value for value in self.latencies)
        ranks = {f"p{rank}_ms": percentile(ordered, rank) for rank in (50, 99)} if ordered else {}
        worst = {"max_ms": ordered[-1]} if ordered else {}
        asked = sum(self.answers.values())
        failed = asked - self.answers.get("200", 0)
        by_second = [[at, round(1000 * value, 1)] for at, value in sorted(self.worst.items())]
        return {
            "asked": asked, "failed": failed, "answers": self.answers, **ranks, **worst,
            "max_ms_by_second": by_second,
        }  # fmt: skip


class ProbeProcess:
    """The probing process of a soak test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: str, interval_s: float) -> ProbeProcess:
        """Starts probing; returns after the first request to each probe."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmark.soak.probes", "--url", url,
            "--interval", str(interval_s),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            # Ctrl-C goes to the test only, which ends this process by closing its input.
            start_new_session=True,
        )  # fmt: skip
        if process.stdout is not None:
            await process.stdout.readline()
        return cls(process)

    async def stop(self) -> dict[str, Any]:
        """Stops probing; returns the results by path.

        Raises:
            BenchmarkError: the process ended early.
        """
        output, _ = await self._process.communicate(b"")
        try:
            return dict(json.loads(output))
        except (ValueError, TypeError):
            raise BenchmarkError("the probing process ended early") from None


def probe(
    url: str, interval_s: float, ended: threading.Event, on_start: Callable[[], None]
) -> dict[str, Any]:
    """Requests each probe every `interval_s` seconds until `ended`; returns results by path.

    `on_start` is called after the first request to each probe.
    """
    logs = {path: ProbeLog() for path in PROBES}
    for path, log in logs.items():
        _ask(url, path, log)
    on_start()
    threads = [
        threading.Thread(target=_ask_on, args=(url, path, interval_s, log, ended))
        for path, log in logs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {path: log.as_json() for path, log in logs.items()}


def _ask_on(url: str, path: str, interval_s: float, log: ProbeLog, ended: threading.Event) -> None:
    due = time.perf_counter()
    while not ended.is_set():
        _ask(url, path, log)
        # A slow answer delays the next request; requests do not pile up.
        due = max(due + interval_s, time.perf_counter())
        ended.wait(due - time.perf_counter())


def _ask(url: str, path: str, log: ProbeLog) -> None:
    """One request on a new connection, like the probes of an orchestrator."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    started = time.perf_counter()
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        response = connection.getresponse()
        response.read()
        log.note(str(response.status), time.perf_counter() - started)
    except (OSError, HTTPException) as error:
        log.note(type(error).__name__, None)
    finally:
        connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Probes until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.soak.probes", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between requests")
    arguments = parser.parse_args(argv)
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()

    def tell_start() -> None:
        sys.stdout.write("started\n")
        sys.stdout.flush()

    json.dump(probe(arguments.url, arguments.interval, ended, tell_start), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
