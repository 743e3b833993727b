"""Merges the Prometheus metrics of several replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_LABEL = "replica"


def merged(expositions: Mapping[str, str]) -> bytes:
    """All samples in the text format, each with the label `replica`.

    Args:
        expositions: text of each replica, by its name.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(expositions))
    return generate_latest(registry)


class _Merged(Collector):
    """One metric family per name, with the samples of all replicas."""

    def __init__(self, expositions: Mapping[str, str]) -> None:
        self._expositions = expositions

    def collect(self) -> Iterable[Metric]:
        """Each family once, as the format requires."""
        families: dict[str, Metric] = {}
        for replica, family in self._parsed():
            whole = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, _LABEL: replica}, sample.value)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known only once replicas have answered."""
        return ()

    def _parsed(self) -> Iterator[tuple[str, Metric]]:
        for replica, text in self._expositions.items():
            for family in text_string_to_metric_families(text):
                yield replica, family
