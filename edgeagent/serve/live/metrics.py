"""``GET /metrics``: what the agent measures, for Prometheus. Names are in docs/monitoring.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from edgeagent.serve.http.aside import Aside
from edgeagent.serve.http.exchange import Request, Response
from edgeagent.serve.http.router import Route
from edgeagent.serve.inference.repository import Repository
from edgeagent.serve.inference.tally import Tally
from edgeagent.serve.live.exposition import TYPE, Family, expose

_SPANS = {
    "nv_inference_request_duration_us": ("success", "From reading to answering, summed up"),
    "nv_inference_queue_duration_us": ("queue", "Waiting for the model, summed up"),
    "nv_inference_compute_input_duration_us": ("compute_input", "Reading inputs, summed up"),
    "nv_inference_compute_infer_duration_us": ("compute_infer", "Running the model, summed up"),
    "nv_inference_compute_output_duration_us": ("compute_output", "Writing outputs, summed up"),
}


class Metrics:
    """The route.

    Args:
        gather: figures of the agent, asked for on ``aside``.
        models: what is served.
    """

    def __init__(
        self, gather: Callable[[], Iterable[Family]], models: Repository, aside: Aside
    ) -> None:
        self._gather = gather
        self._models = models
        self._aside = aside

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.told, "Figures for Prometheus", "metrics",
                      gives=("text/plain",))]  # fmt: skip

    async def told(self, _request: Request) -> Response:
        figures: list[Family] = await self._aside.run(lambda: list(self._gather()))
        return Response(expose([*figures, *inference(self._models)]), TYPE)


def inference(models: Repository) -> Iterator[Family]:
    """What served models have done, under the names of Triton's metrics, so that dashboards made
    for it show this device as well."""
    served = [
        (its.tally, {"model": its.name, "version": its.version}, its.waiting)
        for its in models.open_now()
    ]

    def counter(name: str, text: str, of: Callable[[Tally], float]) -> Family:
        return Family(name, "counter", text, [(labels, of(tally)) for tally, labels, _ in served])

    yield counter("nv_inference_request_success", "Requests answered",
                  lambda its: its.span("success")[0])  # fmt: skip
    yield counter("nv_inference_count", "Rows inferred", lambda its: its.inferences)
    yield counter("nv_inference_exec_count", "Runs of the model", lambda its: its.executions)
    for name, (kind, text) in _SPANS.items():
        yield counter(name, text, lambda its, kind=kind: its.span(kind)[1] / 1e3)  # type: ignore[misc]
    failed = Family("nv_inference_request_failure", "counter", "Requests refused or failed")
    for tally, labels, _ in served:
        rejected = dict(tally.rejected)
        canceled = rejected.pop("gone", 0)
        told = {"CANCELED": canceled, "REJECTED": sum(rejected.values())}
        told["OTHER"] = max(0, tally.span("fail")[0] - sum(told.values()))
        for reason, count in told.items():
            failed.add(count, **labels, reason=reason)
    yield failed
    yield Family("nv_inference_pending_request_count", "gauge", "Requests that wait",
                 [(labels, waiting) for _, labels, waiting in served])  # fmt: skip
    shadows = Family("edgeagent_shadow_total", "counter",
                     "Requests that a shadow was asked as well, by what it said")  # fmt: skip
    for name, mirror in sorted(models.mirrors.items()):
        for said in ("same", "other", "skipped"):
            shadows.add(getattr(mirror, said), model=name, version=mirror.shadow, said=said)
    yield shadows
