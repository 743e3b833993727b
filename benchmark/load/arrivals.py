"""Arrival times of a load test: closed loop, Poisson, bursty, or ramp-up.

Terms and distributions follow `vllm bench serve`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from benchmark.errors import BenchmarkError


@dataclass(frozen=True, slots=True)
class RampUp:
    """A rate that changes from `start_rps` to `end_rps` requests per second during the test."""

    strategy: Literal["linear", "exponential"]
    start_rps: float
    end_rps: float

    def rate(self, progress: float) -> float:
        """Requests per second at `progress` (0 to 1) of the test."""
        if self.strategy == "linear":
            return self.start_rps + (self.end_rps - self.start_rps) * progress
        return float(self.start_rps * (self.end_rps / self.start_rps) ** progress)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Arrival process; an infinite `request_rate` sends as soon as a slot is free."""

    request_rate: float = math.inf
    burstiness: float = 1.0
    ramp_up: RampUp | None = None

    def times(self, count: int, seed: int) -> list[float]:
        """Seconds after the start at which requests are due, the first at 0.

        Intervals have a gamma distribution with mean `1 / rate` and shape `burstiness`: 1 is a
        Poisson process, less is burstier, infinity gives equal intervals.

        Raises:
            BenchmarkError: a rate or the burstiness is not greater than 0.
        """
        rates = self._rates(count)
        if not self.burstiness > 0 or not all(rate > 0 for rate in rates):
            raise BenchmarkError(
                f"request rate {min(rates, default=self.request_rate)} and burstiness "
                f"{self.burstiness} must be greater than 0"
            )
        rng = random.Random(seed)
        due, times = 0.0, []
        for rate in rates:
            times.append(due)
            if math.isinf(self.burstiness):
                # The limit of the distribution, which no gamma generator can draw.
                due += 1 / rate
            elif not math.isinf(rate):
                due += rng.gammavariate(self.burstiness, 1 / (rate * self.burstiness))
        return times

    def _rates(self, count: int) -> list[float]:
        if self.ramp_up is None:
            return [self.request_rate] * count
        last = max(count - 1, 1)
        return [self.ramp_up.rate(index / last) for index in range(count)]
