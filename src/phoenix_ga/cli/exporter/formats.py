"""Writing metrics in the format that the client of a scrape prefers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Metric

    from phoenix_ga.cli.exposition import Family


class _Registry:
    """What prometheus_client's encoders take."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def encode(families: Iterable[Family], accept: str, more: Iterable[Metric] = ()) -> tuple[bytes, str]:
    """Return metrics and their content type.

    Args:
        accept: the header `Accept` of the request: Prometheus' text format, or OpenMetrics.
        more: metrics of prometheus_client itself, to put first.
    """
    from prometheus_client.exposition import choose_encoder

    encoder: Any
    encoder, content_type = choose_encoder(accept)
    return encoder(_Registry(chain(more, _metrics(families)))), content_type


def limited(families: Iterable[Family], limit: int) -> tuple[list[Family], int]:
    """Return the families with at most `limit` samples in all, and the number of samples left out."""
    kept, omitted = [], 0
    for family in families:
        excess = max(len(family.samples) - limit, 0)
        for key in list(family.samples)[len(family.samples) - excess :]:
            del family.samples[key]
        limit -= len(family.samples)
        omitted += excess
        if family.samples:
            kept.append(family)
    return kept, omitted


def process_metrics() -> Iterable[Metric]:
    """Return the metrics of this process that all exporters have."""
    from prometheus_client import ProcessCollector

    return ProcessCollector(registry=None).collect()


def _metrics(families: Iterable[Family]) -> Iterator[Metric]:
    from prometheus_client import Metric

    for family in families:
        name = family.name.removesuffix("_total") if family.type == "counter" else family.name
        metric = Metric(name, family.help, family.type)
        for values, value in family.samples.items():
            metric.add_sample(family.name, dict(zip(family.labels, values)), value)
        yield metric
