"""Which versions of which models answer, by number, by label, or by a share of the requests.

Versions are those on disk that the policy lets through (TensorFlow Serving's: the newest ones,
all, or named ones; what the device itself runs of a model counts as its newest). A version is
opened when it is asked for first, or at the start where that is configured, and closed when it
was idle for long. Opening happens on one thread, never on the server's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from edgeagent.errors import EdgeAgentError, InferenceError, InputError, NotFound
from edgeagent.prove.semver import version_order
from edgeagent.serve.http.aside import Aside
from edgeagent.serve.http.exchange import Refused, overloaded
from edgeagent.serve.inference.served import Served, Terms, step_back
from edgeagent.update.library import is_path

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.update.library import Library

log = logging.getLogger("edgeagent.serve")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LOOK_AGAIN_S = 5.0
"""What lies on disk is looked up again this often."""
_CLOSING_S = 1.0
MOST_OPEN = 16


class Split(Struct, frozen=True):
    """A version that gets a share of the requests that name none."""

    version: str
    percent: float


class Choice(Struct, frozen=True):
    """Which versions of a model answer, and how."""

    latest: int = 1
    """The newest so many; 0 = all."""
    only: tuple[str, ...] = ()
    """Exactly these."""
    labels: Mapping[str, str] = field(default_factory=dict)
    canary: Split | None = None
    shadow: Split | None = None
    """It is asked as well, and what it says is only compared."""
    terms: Terms = Terms()
    at_start: bool = False
    warm_up: int = 1


class Mirror:
    """How often a shadow agreed with what was answered."""

    def __init__(self, shadow: str) -> None:
        self.shadow = shadow
        self.same = 0
        self.other = 0
        self.skipped = 0
        """Other requests came first, or it was not open yet."""

    def document(self) -> dict[str, str | int]:
        """As it stands in the statistics."""
        return {"version": self.shadow, "same": self.same, "other": self.other,
                "skipped": self.skipped}  # fmt: skip


class Repository:
    """All models of a server. Every method belongs to the server's thread.

    Args:
        library: the versions on disk.
        choices: by model; `usual` for all others.
        opener: opens a package (`prove.predict.Predictor`), after having tried that it does not
            take the process down.
        idle_s: what nobody has asked so long is closed; 0 = never.
    """

    def __init__(
        self,
        library: Library,
        choices: Mapping[str, Choice],
        usual: Choice,
        opener: Callable[[Package], Any],
        idle_s: float = 0.0,
    ) -> None:
        self._library = library
        self._choices = choices
        self._usual = usual
        self._opener = opener
        self._idle_s = idle_s
        self._open: dict[tuple[str, str], Served] = {}
        self._opening: dict[tuple[str, str], asyncio.Task[Served]] = {}
        self._stay: set[tuple[str, str]] = set()
        """Loaded by somebody: they are not closed for being idle."""
        self._withheld: dict[tuple[str, str], str] = {}
        """Unloaded by somebody, with the reason."""
        self._failed: dict[tuple[str, str], str] = {}
        self._seen: dict[str, tuple[float, list[str]]] = {}
        self._random = random.Random()
        self._aside = Aside("serve:open", begin=step_back)
        self.mirrors: dict[str, Mirror] = {}
        self.starting = any(choice.at_start for choice in choices.values())
        """Not all is open yet that is to be open from the start."""

    # --- who answers --------------------------------------------------------------------------

    def choice(self, name: str) -> Choice:
        return self._choices.get(name, self._usual)

    def ready(self, name: str, version: str = "") -> Served | None:
        """A version that is open and may answer; None = `get` has to be asked."""
        if not version and self.choice(name).canary is None:
            known = self._seen.get(name)
            if known and known[1] and time.monotonic() - known[0] < _LOOK_AGAIN_S:
                return self._open.get((name, known[1][0]))
        return None

    async def get(self, name: str, version: str = "") -> Served:
        """The version that answers, opened if need be. Raises NotFound, Refused (404, 503),
        ModelError."""
        chosen = await self.resolve(name, version)
        found = self._open.get((name, chosen))
        return found or await self._opened(name, chosen)

    async def resolve(self, name: str, version: str = "") -> str:
        """What a number, a label or nothing means. Raises NotFound, Refused (404)."""
        served = await self.versions(name)
        choice = self.choice(name)
        if not version:
            canary = choice.canary
            if canary and canary.version in served:
                if self._random.uniform(0.0, 100.0) < canary.percent:
                    return canary.version
                rest = [its for its in served if its != canary.version]
                return (rest or served)[0]
            return served[0]
        meant = choice.labels.get(version, version)
        for its in served:
            if meant in (its, number_of(its)):
                return its
        raise Refused(404, f"{name} has no version {version[:64]!r}; it serves {', '.join(served)}")

    async def versions(self, name: str) -> list[str]:
        """Those that answer, the first of them when none is named. Raises NotFound."""
        known = self._seen.get(name)
        if known is None or time.monotonic() - known[0] > _LOOK_AGAIN_S:
            if not _NAME.fullmatch(name) or is_path(name):
                raise NotFound(f"there is no model {name[:64]!r}")
            found = await self._aside.run(self._look_up, name)
            if len(self._seen) > 256:
                self._seen.clear()
            known = self._seen[name] = (time.monotonic(), found)
        served = [its for its in known[1] if (name, its) not in self._withheld]
        if not served:
            why = next((text for (its, _), text in self._withheld.items() if its == name), "")
            raise Refused(404, f"{name} is not served: {why}" if why else f"{name} is not served")
        return served

    def _look_up(self, name: str) -> list[str]:
        """On the opening thread. Raises NotFound, PackageError."""
        newest = self._library.find(name).version
        rest = [entry.version for entry in self._library.list()
                if entry.name == name and entry.package and not entry.hidden_by]  # fmt: skip
        rest.sort(key=version_order, reverse=True)
        ordered = [newest, *(its for its in rest if its != newest)]
        choice = self.choice(name)
        named = {
            *choice.labels.values(),
            *(split.version for split in (choice.canary, choice.shadow) if split),
        }
        if choice.only:
            return [its for its in ordered if its in choice.only]
        allowed = ordered[: choice.latest or None]
        return [*allowed, *(its for its in ordered if its in named and its not in allowed)]

    # --- opening and closing ------------------------------------------------------------------

    async def _opened(self, name: str, version: str) -> Served:
        key = (name, version)
        task = self._opening.get(key)
        if task is None:
            if len(self._open) + len(self._opening) >= MOST_OPEN and not await self._make_room():
                raise overloaded(503, f"{MOST_OPEN} models are open and all of them at work")
            task = self._opening[key] = asyncio.ensure_future(self._open_it(name, version))
        # One who gives up must not take the others' model away.
        return await asyncio.shield(task)

    async def _open_it(self, name: str, version: str) -> Served:
        key = (name, version)
        try:
            served: Served = await self._aside.run(self._really_open, name, version)
        except EdgeAgentError as error:
            self._failed[key] = str(error)
            raise
        finally:
            self._opening.pop(key, None)
        self._failed.pop(key, None)
        self._open[key] = served
        return served

    def _really_open(self, name: str, version: str) -> Served:
        from edgeagent.prove.samples import made_up

        choice = self.choice(name)
        predictor = self._opener(self._library.find(name, version))
        try:
            for _ in range(choice.warm_up):
                try:
                    predictor(made_up(predictor.package))
                except (InputError, InferenceError) as error:
                    # Noise is not what this one takes; what clients send is judged by itself.
                    log.info("%s: no warm-up: %s", name, error)
                    break
            predictor.reset()
            return Served(predictor, choice.terms)
        except BaseException:
            predictor.close()
            raise

    async def _make_room(self) -> bool:
        """Close the one that was idle longest; False = all are at work."""
        idle = [(its.used, key) for key, its in self._open.items()
                if not its.waiting and time.monotonic() - its.used > 1.0]  # fmt: skip
        if not idle:
            return False
        await self._close(min(idle)[1])
        return True

    async def _close(self, key: tuple[str, str]) -> None:
        served = self._open.pop(key, None)
        if served is not None:
            await self._aside.run(served.close)

    async def load(self, name: str) -> None:
        """Open a model because somebody says so; it stays open. Raises as `get`."""
        self._seen.pop(name, None)
        for key in [key for key in self._withheld if key[0] == name]:
            del self._withheld[key]
        served = await self.get(name)
        self._stay.add((name, served.version))

    async def unload(self, name: str) -> None:
        """Close all versions of a model until it is loaded again. Raises NotFound."""
        for version in await self.versions(name):
            self._withheld[name, version] = "it was unloaded"
            self._stay.discard((name, version))
            await self._close((name, version))

    async def start(self) -> None:
        """Open what is to be open from the start; what can't be is told by `index` as well."""
        for name, choice in self._choices.items():
            if choice.at_start:
                try:
                    await self.load(name)
                except (EdgeAgentError, Refused) as error:
                    log.warning("serve.models.%s.at_start: %s", name, error)
        self.starting = False

    async def tick(self) -> None:
        """Close what was idle for long."""
        if not self._idle_s:
            return
        before = time.monotonic() - self._idle_s
        for key, served in list(self._open.items()):
            if key not in self._stay and served.used < before and not served.waiting:
                await self._close(key)

    async def close(self) -> None:
        """Close all, as far as that is soon done: one that opens just now is not waited for."""
        closing = [asyncio.ensure_future(self._close(key)) for key in list(self._open)]
        if closing:
            await asyncio.wait(closing, timeout=_CLOSING_S)
        self._aside.close()

    # --- telling ------------------------------------------------------------------------------

    async def names(self) -> list[str]:
        """All models that can be asked."""
        found: list[str] = await self._aside.run(self._library.names)
        return found

    async def index(self) -> list[dict[str, str]]:
        """Triton's repository index: every version that may answer, with its state."""
        rows = []
        for name in await self.names():
            try:
                versions = await self.versions(name)
            except (EdgeAgentError, Refused) as error:
                rows.append({"name": name, "state": "UNAVAILABLE", "reason": str(error)})
                continue
            rows += [self._row(name, version) for version in versions]
        return rows

    def _row(self, name: str, version: str) -> dict[str, str]:
        state = "READY" if (name, version) in self._open else "UNAVAILABLE"
        reason = self._failed.get((name, version), "" if state == "READY" else "not loaded yet")
        return {"name": name, "version": version, "state": state, "reason": reason}

    def open_now(self) -> list[Served]:
        """What is open, by name and version."""
        return [self._open[key] for key in sorted(self._open)]

    def shadow(self, served: Served) -> Split | None:
        """Who is to be asked as well, for a request that this version answers."""
        shadow = self.choice(served.name).shadow
        if shadow is None or shadow.version == served.version:
            return None
        return shadow if self._random.uniform(0.0, 100.0) < shadow.percent else None


def number_of(version: str) -> str:
    """A semantic version as the whole number that TensorFlow Serving's clients want:
    ``1.2.3`` → ``1002003``."""
    parts = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if parts is None:
        return version
    major, minor, patch = (int(part) for part in parts.groups())
    return str(major * 1_000_000 + minor * 1_000 + patch)
