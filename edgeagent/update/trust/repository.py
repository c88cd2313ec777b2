"""Signed files, looked up and brought: what the rest of the agent sees of trust."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from edgeagent.durable import replace
from edgeagent.errors import EdgeAgentError, NotFound, StoreError, Unavailable, Untrusted
from edgeagent.manifest import sha256_of
from edgeagent.update import delta, signatures
from edgeagent.update.fetch.part import Part
from edgeagent.update.fetch.port import Carrier
from edgeagent.update.ports import Progress, Target
from edgeagent.update.trust.guard import Guard
from edgeagent.update.trust.moment import Moment

log = logging.getLogger(__name__)

T = TypeVar("T")
PATCHES = "patches"
"""Key of a target's ``custom``: from which files a patch makes it."""
MOST_ROOT = 512_000
_MOST_OPERATORS = 64 * 1024


class Origin(Struct, frozen=True):
    """One patch that makes a target, as its ``custom`` lists it."""

    base: str
    """SHA-256 of the file that must be present."""
    path: str
    """Of the patch, itself a signed target."""


class _Custom(Struct, frozen=True):
    patches: list[Origin] = field(default_factory=list)


class TrustedRepository:
    """A `ports.Repository` over python-tuf. Belongs to one thread.

    The folder holds ``metadata`` (the client's), ``time.json`` (`Moment`), ``operators.json`` and
    ``signed.json``: what was brought, by which signed words, for when nobody can be asked.
    """

    def __init__(
        self, folder: Path, root: Path, carriers: Sequence[Carrier], *,
        moment: Moment | None = None, conformance: bool = False, metadata: Path | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            folder: within the data folder.
            root: file with the first root metadata.
            carriers: where files come from, in the order in which they are tried.
            moment: the clock's floor; by default it is kept in ``folder``.
            conformance: go by the system's clock alone and take keys of any kind, as the public
                tests want it.
            metadata: where the client keeps what is signed, if not in ``folder``.
        """
        self._folder = folder
        self._root = root
        self._metadata = metadata or folder / "metadata"
        self._carriers = list(carriers)
        self._moment = moment or Moment(folder / "time.json")
        self._conformance = conformance
        self._guard: Guard | None = None
        self._carrier: Carrier | None = None
        self._stopped = Event()
        self._places: dict[str, str] = {}
        self._operators: Target | None = None
        self.versions: Mapping[str, Any] = {}
        """Of the metadata: root, timestamp, snapshot, and when the timestamp expires."""

    @property
    def pid(self) -> int:
        """Of the child; 0 = there is none."""
        return self._guard.pid if self._guard is not None else 0

    # --- the port

    def refresh(self, stopped: Event) -> None:
        """Bring the signed metadata up to date.

        Raises:
            NotFound: there is no root to begin with.
            Unavailable: nowhere can it be had.
            Untrusted: what is offered can't be believed.
            Busy: ``stopped``.
        """
        bootstrap = self._bootstrap()
        self._stopped = stopped
        self._each(lambda carrier: self._refresh(carrier, bootstrap))
        if not self._conformance:
            self._moment.held()
        self._bring_operators()

    def target(self, path: str) -> Target | None:
        """As listed at the last refresh. Raises what `refresh` does."""
        if self._guard is None:
            raise Unavailable("signed metadata was not refreshed")
        return self._listed(self._guard.ask({"do": "target", "path": path})["target"])

    def bring(
        self, target: Target, into: Path, *, bases: Sequence[Path] = (),
        progress: Progress = lambda _done, _all: None, stopped: Event,
    ) -> None:  # fmt: skip
        """Have the file at ``into``: see `ports.Repository`.

        Raises:
            Untrusted: what comes is not what was signed.
            Unavailable, Busy: not now; a later call goes on.
            StoreError and its kinds: it can't be kept.
        """
        if _is(into, target):
            progress(target.length, target.length)
            self._record(target)
            return
        if not self._from_patch(target, into, bases, progress, stopped):
            self._whole(target, into, progress, stopped)
        self._record(target)

    def close(self) -> None:
        """End the child: no memory is held afterwards."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    # --- for when nobody can be asked

    def signed(self) -> dict[str, Target]:
        """Path → what was signed, of all that was brought here so far."""
        try:
            return msgspec.json.decode(self._signed.read_bytes(), type=dict[str, Target])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}

    # --- within

    @property
    def _signed(self) -> Path:
        return self._folder / "signed.json"

    def _bootstrap(self) -> bytes:
        try:
            with self._root.open("rb") as stream:
                return stream.read(MOST_ROOT)
        except OSError as error:
            raise NotFound(
                f"trust.root {self._root} can't be read: {error.strerror}",
                remedy="Put the fleet's root.json there (edgeagent fleet init wrote it), or "
                "install models by hand.",
            ) from error

    def _each(self, work: Callable[[Carrier], T]) -> T:
        """Do it with the first carrier with which it can be done, beginning with the last good.

        What one of them offers and can't be believed does not keep us from asking the others.
        """
        failures: list[EdgeAgentError] = []
        for carrier in sorted(self._carriers, key=lambda its: its is not self._carrier):
            try:
                found = work(carrier)
            except (Untrusted, Unavailable, NotFound) as error:
                if len(self._carriers) > 1:
                    log.warning("%s: %s", carrier.name, error)
                failures.append(error)
                continue
            self._carrier = carrier
            return found
        if not failures:
            raise Unavailable("trust.repository names no place to get models from")
        worst = [error for error in failures if isinstance(error, Untrusted)]
        raise (worst or failures)[0]

    def _refresh(self, carrier: Carrier, bootstrap: bytes) -> None:
        self.close()
        self._places.clear()
        reference = "" if self._conformance else self._moment.reference()

        def serve(path: str, most: int) -> bytes | None:
            return carrier.read(path, most, self._stopped)

        guard = Guard(
            self._metadata, bootstrap, reference, serve, ed25519_only=not self._conformance
        )
        try:
            found = guard.ask({"do": "refresh", "listed": signatures.OPERATORS})
        except EdgeAgentError:
            guard.close()
            raise
        self._guard = guard
        self._operators = self._listed(found.pop("listed"))
        self.versions = found

    def _whole(self, target: Target, into: Path, progress: Progress, stopped: Event) -> None:
        place = self._places.get(target.path) or _place(target)
        part = Part(into, target.length, target.sha256, progress)
        try:
            self._each(lambda carrier: carrier.bring(place, part, stopped))
            part.finish()
        except EdgeAgentError as error:
            if isinstance(error, NotFound):
                raise Unavailable(f"{target.path} is signed, and nobody has it: {error}") from error
            if error.retry == "backoff":
                part.note()
            else:
                part.discard()
            raise
        finally:
            part.close()

    def _from_patch(
        self, target: Target, into: Path, bases: Sequence[Path], progress: Progress, stopped: Event
    ) -> bool:
        """Make it of a file that is present. False = there is no way; the whole must come."""
        for base, origin in _origins(target, bases):
            patch = self.target(origin.path)
            if patch is None or patch.length >= target.length:
                continue
            file = into.with_name(f"{into.name}.patch")
            try:
                self._whole(patch, file, progress, stopped)
                delta.apply(base, file, into, target.length, target.sha256)
            except (Untrusted, NotFound, StoreError) as error:
                log.warning("%s: not by its patch, whole: %s", target.path, error)
                continue
            finally:
                if file.exists():
                    file.unlink()
            progress(target.length, target.length)
            return True
        return False

    def _listed(self, answer: dict[str, Any] | None) -> Target | None:
        if answer is None:
            return None
        path, sha256 = answer["path"], answer["hashes"].get("sha256")
        if not isinstance(sha256, str):
            raise Untrusted(f"{path} is signed without the SHA-256 that this agent checks")
        self._places[path] = answer["at"]
        return Target(path, answer["length"], sha256, answer["custom"])

    def _bring_operators(self) -> None:
        """The fleet's list of operators, if the top-level listing has one: whose word counts on
        this device."""
        file = self._folder / signatures.OPERATORS
        target = self._operators
        if target is None:
            file.unlink(missing_ok=True)
        elif target.length > _MOST_OPERATORS:
            raise Untrusted(f"{signatures.OPERATORS} has {target.length} bytes")
        else:
            self.bring(target, file, stopped=self._stopped)

    def _record(self, target: Target) -> None:
        known = self.signed()
        if known.get(target.path) != target:
            replace(self._signed, msgspec.json.encode({**known, target.path: target}))


def _place(target: Target) -> str:
    """Where a consistent repository has it: the name is led by the hash."""
    folder, slash, name = target.path.rpartition("/")
    return f"targets/{folder}{slash}{target.sha256}.{name}"


def _is(file: Path, target: Target) -> bool:
    try:
        return file.stat().st_size == target.length and sha256_of(file) == target.sha256
    except OSError:
        return False


def _origins(target: Target, bases: Sequence[Path]) -> list[tuple[Path, Origin]]:
    """Files that are present, and the patches that make the target of them."""
    try:
        patches = msgspec.convert(target.custom, _Custom).patches
    except msgspec.ValidationError:
        return []
    if not patches or not bases:
        return []
    present: dict[str, Path] = {}
    for base in bases:
        try:
            present.setdefault(sha256_of(base), base)
        except OSError:
            continue
    return [(present[its.base], its) for its in patches if its.base in present]
