"""The HTTP server of this agent: which parts it has, and what they may ask the agent."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

from edgeagent.agent.figures import gather
from edgeagent.agent.looking import Looking
from edgeagent.agent.privacy import looked
from edgeagent.agent.sittings import Sittings
from edgeagent.agent.tuned import as_tuned
from edgeagent.config.model import Runtime, Serve, ServedModel
from edgeagent.config.reach import beyond_this_machine
from edgeagent.config.secret import read_secret
from edgeagent.config.units import seconds, size_bytes
from edgeagent.errors import ConfigError, EdgeAgentError, in_words
from edgeagent.serve.http.courtesy import Courtesy
from edgeagent.serve.http.door import Door
from edgeagent.serve.http.openapi import Description
from edgeagent.serve.http.router import Route, Router
from edgeagent.serve.http.server import Listen, Server
from edgeagent.serve.inference.oip import OpenInference
from edgeagent.serve.inference.repository import Choice, Repository, Split
from edgeagent.serve.inference.sagemaker import SageMaker
from edgeagent.serve.inference.samples import Predictions
from edgeagent.serve.inference.served import Terms
from edgeagent.serve.inference.tfserving import TensorFlowServing
from edgeagent.serve.live.events import Events
from edgeagent.serve.live.metrics import Metrics
from edgeagent.serve.live.page import Page

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.config import serving
    from edgeagent.manifest import Package
    from edgeagent.prove.predict import Predictor

log = logging.getLogger("edgeagent.serve")

_SHORTEST_TOKEN = 16
_SWITCH_S = 0.0005


def serve(agent: Agent) -> None:
    """Have it answer HTTP; where that can't be, say why: whoever watches and decides here must
    not stand still for those who only ask."""
    try:
        agent.server = open_server(agent)
    except EdgeAgentError as error:
        agent.unserved = in_words(error)


def open_server(agent: Agent) -> Server:
    """The server that ``[serve]`` describes, listening. Raises ConfigError, RuntimeMissing, Busy,
    NotPermitted."""
    config = agent.loaded.config.serve
    assert config is not None
    models = _repository(agent, config)
    events = Events(agent.outbox)
    metrics = Metrics(partial(gather, agent), models, events.aside)
    sittings = Sittings(partial(looked, agent))
    page = Page(Looking(agent, sittings)) if config.page else None
    routes = _routes(config, models, events, metrics, page)
    courtesy = Courtesy(partial(_at_work, agent))
    router = Router(routes, _door(agent, config), size_bytes(config.max_body), courtesy)
    tls = config.tls
    listen = Listen(config.listen, tls.cert, tls.key) if tls else Listen(config.listen)

    async def end() -> None:
        events.close()
        if page is not None:
            page.close()
        sittings.stop()
        await models.close()

    async def tick() -> None:
        if sittings.over():
            await asyncio.to_thread(sittings.tick)
        await models.tick()

    server = Server(
        listen, router, begin=models.start, tick=tick, end=end, background=_share,
        give_way=courtesy,
    )  # fmt: skip
    server.start()
    log.info("answers HTTP at %s", listen.where)
    return server


def _at_work(agent: Agent) -> bool:
    """Whether a pipeline works on a sample."""
    # A copy: a pipeline may be revived meanwhile.
    return any(getattr(its, "stepping", False) for its in tuple(agent.pipelines.values()))


def _share() -> None:
    """Pipelines take up the interpreter a dozen times for each sample. Behind a busy server each
    of these would wait for as long as a thread may keep it, which is 5 ms unless it is set."""
    sys.setswitchinterval(_SWITCH_S)


def _routes(
    config: Serve, models: Repository, events: Events, metrics: Metrics, page: Page | None
) -> list[Route]:
    predictions = Predictions(models)
    parts = (
        OpenInference(models), predictions, TensorFlowServing(models),
        SageMaker(models, predictions, config.default_model), events, metrics,
        *((page,) if page else ()),
    )  # fmt: skip
    routes = [route for part in parts for route in part.routes()]
    return [*routes, *Description(routes).routes()]


def _door(agent: Agent, config: Serve) -> Door:
    token = read_secret("serve", config.token_file) or ""
    if config.token_file and len(token) < _SHORTEST_TOKEN:
        raise ConfigError(
            f"serve.token_file: {config.token_file} holds no token of {_SHORTEST_TOKEN} "
            "characters or more",
            remedy="Make one: openssl rand -hex 24",
        )
    host = socket.gethostname()
    names = (host, f"{host}.local", agent.device, *config.hosts)
    return Door(token, names, exposed=beyond_this_machine(config.listen))


def _repository(agent: Agent, config: Serve) -> Repository:
    from edgeagent.update.library import Library, default_folders
    from edgeagent.update.proven import Proven

    proven = Proven(agent.folder / "proven.json")
    runtimes = {
        pipeline.model: pipeline.runtime for pipeline in agent.loaded.config.pipelines.values()
    }

    def opener(package: Package) -> Predictor:
        from edgeagent.infer import open_package
        from edgeagent.prove.predict import Predictor

        # As the pipelines run it: what was tuned for this board is right here as well.
        folder = agent.folder if agent.loaded.config.models.tuned else None
        opens = as_tuned(open_package, folder, proven)
        return Predictor(package, runtimes.get(package.name, Runtime()), opens=opens)

    choices = {name: _choice(config, its) for name, its in config.models.items()}
    library = Library(default_folders(agent.folder, agent.loaded.config.models.path))
    return Repository(
        library, choices, _choice(config, ServedModel()), opener, seconds(config.idle)
    )


def _choice(config: Serve, its: ServedModel) -> Choice:
    return Choice(
        latest=its.latest,
        only=tuple(its.only),
        labels=its.labels,
        canary=_split(its.canary),
        shadow=_split(its.shadow),
        terms=Terms(
            queue=its.queue or config.queue,
            timeout_s=seconds(its.timeout or config.timeout),
            max_batch=its.max_batch,
            max_delay_s=seconds(its.max_delay),
        ),
        at_start=its.at_start,
        warm_up=its.warm_up,
    )


def _split(its: serving.Split | None) -> Split | None:
    return Split(its.version, its.percent) if its is not None else None
