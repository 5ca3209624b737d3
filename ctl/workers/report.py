# SPDX-License-Identifier: GPL-3.0-or-later
"""What workers tell the controller of themselves each second, and one picture of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from api.health import Component
from api.metrics import KINDS, Figures, FiguresSource

SILENT_SECONDS = 5.0
"""After which a worker that reports nothing is not ready."""
SHARED = ("version", "xdp_drops", "engine_drops", "xdp_attached", "registrations")
"""Figures that all processes see alike: the controller's are those of all."""
PASSING = ("rtp_packets", "rtp_bytes", "rtp_lost", "rtp_reordered", "rtp_duplicates")
"""Counters that a worker which is started again goes on with, for its flows do."""

Sample = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Report:
    """One worker as it is. histograms: the value of each sample."""

    figures: Figures = field(default_factory=Figures)
    histograms: Mapping[Sample, float] = field(default_factory=dict)
    components: Sequence[Component] = ()
    calls: int = 0
    handed: int = 0


@dataclass(slots=True)
class Reports:
    """Those of all workers, by number, and what workers that died had counted. own: the controller's figures."""

    own: FiguresSource
    workers: int
    _latest: dict[int, tuple[float, Report]] = field(default_factory=dict)
    _former: list[Report] = field(default_factory=list)

    def take(self, worker: int, report: Report) -> None:
        """A worker has reported."""
        self._latest[worker] = time.monotonic(), report

    def lost(self, worker: int) -> None:
        """A worker has died: what it had counted remains, what it had is gone."""
        _, report = self._latest.pop(worker, (0.0, None))
        if report is not None:
            past = replace(report.figures, **{kind.field: _nothing(kind.field) for kind in KINDS if _passes(kind)})
            self._former = [_sum([*self._former, Report(past, report.histograms)])]

    def latest(self) -> dict[int, Report]:
        """Return what each worker reported last."""
        return {worker: report for worker, (_, report) in self._latest.items()}

    def silent(self, seconds: float) -> list[int]:
        """Return the workers that have not reported for so long."""
        now = time.monotonic()
        return [worker for worker, (at, _) in self._latest.items() if now - at > seconds]

    def figures(self) -> Figures:
        """Return those of all. Implements `api.metrics.FiguresSource`."""
        own = self.own.figures()
        return _add_figures([own, *(each.figures for each in self._all())], own)

    def histograms(self, sample: Sample) -> float:
        """Return what workers have of a sample."""
        return sum(each.histograms.get(sample, 0.0) for each in self._all())

    def components(self) -> list[Component]:
        """Return one part for each name that workers have, ready where all of them are."""
        missing = [worker for worker in range(self.workers) if worker not in self._latest]
        silent = self.silent(SILENT_SECONDS)
        why = ", ".join(
            [f"worker {worker + 1} is being started" for worker in missing]
            + [f"worker {worker + 1} does not answer" for worker in silent]
        )
        found: dict[str, Component] = {}
        for worker, report in sorted(self.latest().items()):
            for part in report.components:
                before = found.get(part.name)
                if before is None or (before.ready and not part.ready):
                    reason = part.reason and f"worker {worker + 1}: {part.reason}"
                    found[part.name] = replace(part, reason="" if part.ready else reason)
        return [Component("workers", not why, why), *found.values()]

    def _all(self) -> Iterator[Report]:
        yield from self._former
        yield from self.latest().values()


class SharedHistogram(Collector):
    """A histogram of the controller with what workers observed."""

    def __init__(self, own: Collector, others: Callable[[Sample], float]) -> None:
        self._own, self._others = own, others

    def collect(self) -> Iterator[Metric]:
        """Yield the sums."""
        for metric in self._own.collect():
            summed = Metric(metric.name, metric.documentation, metric.type)
            for each in metric.samples:
                added = 0.0 if each.name.endswith("_created") else self._others(_key(each))
                summed.add_sample(each.name, each.labels, each.value + added)
            yield summed


def samples(collectors: Iterable[Collector]) -> dict[Sample, float]:
    """The values of histograms."""
    found = (each for one in collectors for metric in one.collect() for each in metric.samples)
    return {_key(each): each.value for each in found if each.value}


def _key(sample: Any) -> Sample:
    return sample.name, tuple(sorted(sample.labels.items()))


def _sum(reports: Sequence[Report]) -> Report:
    histograms: dict[Sample, float] = {}
    for each in reports:
        for key, value in each.histograms.items():
            histograms[key] = histograms.get(key, 0.0) + value
    return Report(_add_figures([each.figures for each in reports], Figures()), histograms)


def _add_figures(all_: Sequence[Figures], shared: Figures) -> Figures:
    found: dict[str, Any] = {}
    for each in fields(Figures):
        values = [getattr(figures, each.name) for figures in all_]
        if each.name in SHARED:
            found[each.name] = getattr(shared, each.name)
        elif isinstance(values[0], Mapping):
            series: dict[tuple[str, ...], float] = {}
            for value in values:
                for labels, number in value.items():
                    series[labels] = series.get(labels, 0) + number
            found[each.name] = series
        else:
            found[each.name] = sum(values)
    return Figures(**found)


def _passes(kind: Any) -> bool:
    return not kind.counter or kind.field in PASSING or kind.field in SHARED


def _nothing(name: str) -> Any:
    return {} if isinstance(getattr(Figures(), name), Mapping) else 0
