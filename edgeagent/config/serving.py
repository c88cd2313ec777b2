"""The HTTP server in the configuration: without ``[serve]`` there is none."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from edgeagent.config.units import Duration, Size
from edgeagent.config.values import Id

Percent = Annotated[float, Meta(ge=0, le=100, description="a share from 0 to 100 %")]


class ServeTls(Struct, forbid_unknown_fields=True):
    cert: str
    """The certificate with its chain, PEM."""
    key: str


class Split(Struct, forbid_unknown_fields=True):
    """A second version, for a part of the requests that name none."""

    version: str
    percent: Percent


class ServedModel(Struct, forbid_unknown_fields=True):
    """How one model is served. Versions are chosen as in TensorFlow Serving."""

    latest: Annotated[int, Meta(ge=0, le=50)] = 1
    """The newest so many versions answer, the one that runs here first; 0 = all."""
    only: list[str] = field(default_factory=list)
    """Exactly these versions answer."""
    labels: dict[Id, str] = field(default_factory=dict)
    """Names for versions, which clients may ask for: ``{ stable = "1.0.0" }``."""
    canary: Split | None = None
    """A version that answers a part of the requests that name none."""
    shadow: Split | None = None
    """A version that is asked as well, when nothing else waits; it never answers, it is only
    counted how often it would have said the same."""
    max_batch: Annotated[int, Meta(ge=1, le=256)] = 1
    """Requests put together at most, for models that leave their batch open. Their results may
    differ in the last bits from those of single ones."""
    max_delay: Duration = "0 ms"
    """How long a request may wait for others to be put together with."""
    queue: Annotated[int, Meta(ge=1, le=10000)] | None = None
    """As `serve.queue`, for this model."""
    timeout: Duration | None = None
    at_start: bool = False
    """Open it at the start, and keep it open."""
    warm_up: Annotated[int, Meta(ge=0, le=100)] = 1
    """Runs on noise before the first request is answered."""


class Serve(Struct, forbid_unknown_fields=True):
    """Answer HTTP: inference for other programs, figures, and a page for people. Absent = no
    network socket."""

    listen: str = "127.0.0.1:8000"
    """An address and a port, or ``unix:/path``. Beyond this machine only with `token_file` and
    `tls`."""
    token_file: str = ""
    """A file with the token (16 characters or more) that every change needs; empty = nothing can
    be changed by HTTP."""
    tls: ServeTls | None = None
    hosts: list[str] = field(default_factory=list)
    """Further names that clients call this device by; any other is refused."""
    max_body: Size = "16 MiB"
    """Of a request, compressed or not."""
    queue: Annotated[int, Meta(ge=1, le=10000)] = 64
    """Requests that may wait for a model; more are refused with 429."""
    timeout: Duration = "30 s"
    idle: Duration = "10 min"
    """A model that nobody asked for so long is closed; ``"0 s"`` = never."""
    default_model: str = ""
    """Answers ``/invocations`` where no target model is named."""
    page: bool = True
    """The page for people at ``/``: pictures as evidence would show them, events, health. Without
    the token it changes nothing."""
    models: dict[Id, ServedModel] = field(default_factory=dict)
