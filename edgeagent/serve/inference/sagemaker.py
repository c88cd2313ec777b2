"""What a SageMaker container answers: ``GET /ping`` and ``POST /invocations``, with the target
model in a header as in its multi-model endpoints.

Format: docs.aws.amazon.com/sagemaker, "Custom inference code with hosting services".
"""

from __future__ import annotations

from edgeagent.serve.http.exchange import Refused, Request, Response, answer
from edgeagent.serve.http.router import Route
from edgeagent.serve.inference.repository import Repository
from edgeagent.serve.inference.samples import TAKES, Predictions
from edgeagent.serve.inference.served import Served
from edgeagent.serve.inference.tfserving import PredictRequest, predicted

_TARGET = b"x-amzn-sagemaker-target-model"


class SageMaker:
    """The two paths of a container.

    Args:
        usual: the model that answers where no target is named; empty = the only one.
    """

    def __init__(self, models: Repository, predictions: Predictions, usual: str = "") -> None:
        self._models = models
        self._predictions = predictions
        self._usual = usual

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/ping", self.ping, "Whether it is healthy", "sagemaker", public=True),
            Route("POST", "/invocations", self.invoke, "Run the model", "sagemaker",
                  takes=("application/json", *TAKES), body=PredictRequest),
        ]  # fmt: skip

    async def ping(self, _request: Request) -> Response:
        return answer({})

    async def invoke(self, request: Request) -> Response:
        served = await self._target(request)
        kind = request.header(b"content-type").partition(";")[0].strip().lower()
        if kind in ("application/json", ""):
            return answer(await predicted(served, await request.body(), request))
        return answer(await self._predictions.said(served, request))

    async def _target(self, request: Request) -> Served:
        name = request.header(_TARGET).removesuffix(".tar.gz") or self._usual
        if not name:
            names = await self._models.names()
            if len(names) != 1:
                raise Refused(
                    400, "several models: name one in X-Amzn-SageMaker-Target-Model, or set "
                    "serve.default_model"
                )  # fmt: skip
            name = names[0]
        return await self._models.get(name)
