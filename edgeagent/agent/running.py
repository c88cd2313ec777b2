"""The agent while it runs: what it is made of, how it starts, watches itself and stops."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.agent.answers import answer, status, unused, verdict
from edgeagent.agent.crashed import look_at_crashes
from edgeagent.agent.decisions import Decisions
from edgeagent.agent.drifting import Drifting
from edgeagent.agent.outbox import outbox_settings
from edgeagent.agent.privacy import hands
from edgeagent.agent.retention import Retention
from edgeagent.config.load import Loaded
from edgeagent.config.model import MqttConfig
from edgeagent.config.units import size_bytes
from edgeagent.device.identity import device_id, machine_hash
from edgeagent.device.memory import give_back
from edgeagent.device.notify import notify, watchdog_interval_s
from edgeagent.errors import ConfigError, StoreError
from edgeagent.serve.client import announce, socket_path, withdraw
from edgeagent.serve.control import ControlSocket
from edgeagent.store.outbox import Outbox
from edgeagent.supervisor import Supervisor
from edgeagent.update.boots import HEALTHY_AFTER_S

if TYPE_CHECKING:
    from edgeagent.agent.commands import Commands
    from edgeagent.agent.exchange import Exchange
    from edgeagent.agent.governing import Governing
    from edgeagent.agent.retuning import Retuning
    from edgeagent.agent.sync import Sync
    from edgeagent.agent.wishes import Wishes
    from edgeagent.crashes import Keeper
    from edgeagent.serve.http.server import Server
    from edgeagent.update.boots import Boots
    from edgeagent.update.delegated import Delegated
    from edgeagent.update.ports import Stage

log = logging.getLogger("edgeagent")

STOP_S = 3.0
"""From the signal to the exit; systemd waits longer (TimeoutStopSec)."""
_TICK_S = 0.5
_MODELS_FIRST_S = 3.0
_TRIM_AFTER_S = 3.0
_TRIM_EVERY_S = 120.0
_BESIDE_AFTER_S = 2.0  # What a board does for the start is no measure of its work.


class Agent:
    """Everything that runs, in one place."""

    def __init__(
        self,
        loaded: Loaded,
        folder: Path,
        *,
        until_done: bool = False,
        boots: Boots | None = None,
        reload: Callable[[Path], Loaded] | None = None,
    ) -> None:
        """``reload`` reads the configuration anew, with a file as the fleet's layer."""
        self.loaded = loaded
        self.folder = folder
        self.began = time.monotonic()
        self.boot = clock.boot_id()
        self.device = device_id(loaded.config.device.id)
        self.clock_trusted = clock.synced()
        self.supervisor = Supervisor()
        self.pipelines: dict[str, Any] = {}
        self.sources: dict[str, Any] = {}
        self.sync: Sync | None = None
        self.wishes: Wishes | None = None
        self.stage: Stage | None = None
        self.governing: Governing | None = None
        self.retuning: Retuning | None = None
        self.delegated: Delegated | None = None
        self.renewed = False  # It has ended to begin again with another configuration.
        self._boots = boots
        self._reload = reload
        self.safe_mode = boots is not None and boots.safe_mode
        self.exchange: Exchange | None = None
        """Topics that sources listen to, where one does."""
        self._until_done = until_done
        self._making = threading.Lock()
        self._alive: tuple[Any, Any] | None = None
        """What pipelines are built from, and what was built."""
        self._stopping = threading.Event()
        self._said: tuple[str, list[str]] = ("", [])
        self.outbox = Outbox.open(
            folder, device=self.device, settings=outbox_settings(loaded), boot=self.boot,
            machine=machine_hash(),
        )  # fmt: skip
        self.commands: Commands | None = None
        self.decisions = Decisions(
            folder, size_bytes(loaded.config.storage.decisions), self._aside, self._sources_details,
            lambda: self.outbox.allotment,
        )  # fmt: skip
        self.drifting = Drifting(self, self._aside)
        self.retention = Retention(
            loaded.config.retention, lambda: hands(self), self._aside, self.boot
        )
        self.keeper: Keeper | None = None
        """Of crashes; None within another program."""
        self.server: Server | None = None
        self.unserved = ""
        """Why nothing answers HTTP, though it is asked for."""

    # --- life ------------------------------------------------------------------------------

    def run(self) -> int:
        """Start everything, watch until told to stop, stop everything."""
        if threading.current_thread() is threading.main_thread():
            # Else it runs inside another program, which has the signals.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stopping.set())
            signal.signal(signal.SIGHUP, lambda *_: self.renew())
        control = None
        try:
            self._start()
            control = ControlSocket(socket_path(self.folder), partial(answer, self))
            # Not on a full disk: people can still name the socket's folder themselves.
            _quietly(announce, self.folder, control.path)
            notify("READY=1")
            self._watch()
        finally:
            # To the service manager a new beginning in the same process is a reload.
            now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}" if self.renewed else "STOPPING=1")
            self._stop(control)
        return self._verdict()

    def _verdict(self) -> int:
        """0, or 1 where a finite run could not use all that it was given."""
        lost = unused(self) if self._until_done else []
        for line in lost:
            log.error("not everything could be used: %s", line)
        return 1 if lost else 0

    def stop(self) -> None:
        """Ask it to end, from any thread."""
        self._stopping.set()

    def _start(self) -> None:
        for warning in self.loaded.warnings:
            log.warning("%s", warning)
        ended = self.outbox.close_open_events()
        if ended:
            log.info("ended %d events that the last run had left open", ended)
        config = self.loaded.config
        if config.pipelines and not self.safe_mode:
            self._start_pipelines()
            self._wait_for_models()
        from edgeagent.agent.commands import Commands

        self.commands = Commands(self)
        self.commands.start()
        if config.mqtt.host:
            from edgeagent.agent.sync import Sync

            self.sync = Sync(self, self.commands)
            if self.exchange is not None:
                self.exchange.bind(self.sync.link)
        if self._something_wished():
            self.made_wishes().start()
        if self.sync is not None:
            self.sync.start()
        if config.serve is not None:
            from edgeagent.agent.serving import serve

            serve(self)
        log.info("%s runs: %d pipelines, %s", self.device, len(self.pipelines),
                 f"broker {config.mqtt.host}" if config.mqtt.host else "no broker")  # fmt: skip

    def _start_pipelines(self) -> None:
        # Imported here: an agent without pipelines needs none of what they need.
        from edgeagent.agent.build import Surroundings, build, sharing_of
        from edgeagent.update.library import Library, default_folders
        from edgeagent.update.proven import Proven

        config = self.loaded.config
        if config.mqtt.host and any(isinstance(its, MqttConfig) for its in config.sources.values()):
            from edgeagent.agent.exchange import Exchange

            self.exchange = Exchange()
        library = Library(default_folders(self.folder, config.models.path))
        around = Surroundings(
            config, self.loaded.hash, library, self.outbox, folder=self.folder,
            broker=self.exchange, proven=Proven(self.folder / "proven.json", apart=True),
            notes=self.decisions.ring, drift=self.drifting.of,
            sharing=sharing_of(config), delegated=self.made_delegated,
        )  # fmt: skip
        built = build(around)
        self.pipelines, self.sources = built.pipelines, built.sources
        self._alive = (around, built)
        for unit in (*built.pipelines.values(), *built.sources.values()):
            self.supervisor.start(unit)

    def _begin_beside(self) -> float:
        if self._alive is not None and not self._until_done:
            from edgeagent.agent.beside import begin

            begin(self, *self._alive)
        return math.inf

    def _something_wished(self) -> bool:
        """Whether a former process has left anything to be gone on with. Cheap."""
        names = ("desired.json", "remote-state.json")
        return any((self.folder / name).exists() for name in names) or any(
            (self.folder / "models").glob("*.json")
        )

    def made_wishes(self) -> Wishes:
        """What carries out desired state and people's orders; made when it is needed first."""
        with self._making:
            if self.wishes is None:
                from edgeagent.agent.wishes import Wishes

                assert self.commands is not None
                if self._alive is not None:
                    from edgeagent.agent.deploying import live_stage

                    self.stage = live_stage(self, *self._alive)
                self.wishes = Wishes(self, self.commands.submit_job)
            return self.wishes

    def reload(self, remote: Path) -> Loaded:
        """The configuration as it would be with another layer of the fleet. Raises ConfigError."""
        if self._reload is None:
            raise ConfigError("this agent can't read its configuration anew")
        return self._reload(remote)

    def renew(self) -> None:
        """End in good order and begin again, with the configuration as it is then."""
        self.renewed = True
        self._stopping.set()

    def _wait_for_models(self) -> None:
        """Watching comes before talking: what the link and commands need is loaded once the
        models are open, because two threads that import hold each other up."""
        deadline = time.monotonic() + _MODELS_FIRST_S
        for unit in self.pipelines.values():
            settled = getattr(unit, "settled", None)
            if settled is not None:
                settled.wait(max(0.0, deadline - time.monotonic()))

    def _watch(self) -> None:
        """Until stopped: clock, health, watchdog. What is slow or may fail is done elsewhere."""
        interval = watchdog_interval_s()
        healthy_at: float | None = self.began + HEALTHY_AFTER_S
        pinged, trim_at = 0.0, time.monotonic() + _TRIM_AFTER_S
        beside_at = time.monotonic() + _BESIDE_AFTER_S
        while not self._stopping.wait(_TICK_S):
            now = time.monotonic()
            if now >= trim_at:
                give_back()
                trim_at = now + _TRIM_EVERY_S
            if now >= beside_at:
                beside_at = self._begin_beside()
            silent = self.supervisor.silent(now)
            if interval and not silent and now - pinged >= min(interval, 5.0):
                notify("WATCHDOG=1")
                pinged = now
            if healthy_at is not None and now >= healthy_at and not silent and self._boots:
                self._boots.healthy()
                healthy_at = None
            if not self.outbox.alive:
                # Without its writer nothing is kept any more: a fresh process is better.
                raise StoreError(f"the outbox's thread has ended: {self.outbox.stats().fault}")
            self._look_at_clock()
            self._tell_state()
            self.decisions.tick()
            self.drifting.tick()
            self.retention.tick()
            look_at_crashes(self, silent)
            if self.wishes is not None:
                self.wishes.tick()
            if self.sync is not None:
                self.sync.tell_states()
            if self._until_done and self._done():
                log.info("all sources have ended, everything is delivered or kept")
                return

    def _aside(self, work: Callable[[], None]) -> None:
        """Have something done on the thread for long work."""
        if self.commands is not None:
            self.commands.submit_job(work)

    def _sources_details(self) -> dict[str, dict[str, Any]]:
        return {name: unit.health().detail for name, unit in self.sources.items()}

    def _look_at_clock(self) -> None:
        if not self.clock_trusted and clock.synced():
            self.clock_trusted = True
            self.outbox.clock_synced()
            log.info("the clock can be trusted now")

    def _tell_state(self) -> None:
        said = state, reasons = verdict(self)
        if said == self._said:
            return
        self._said = said
        self.decisions.state(state, reasons, self.sync.reasons() if self.sync else ())
        notify(f"STATUS={state}{': ' + '; '.join(reasons) if reasons else ''}"[:512])
        log.log(logging.WARNING if reasons else logging.INFO, "%s",
                "\n  ".join((state, *reasons)), extra={"state": state})  # fmt: skip
        if self.sync is not None:
            self.sync.say(tuple(reasons))

    def _done(self) -> bool:
        if not self.supervisor.all_ended():
            return False
        self.outbox.flush(1.0)
        # Without a broker the outbox is where the records stay.
        return self.sync is None or (
            self.outbox.stats().pending == 0 and self.outbox.blobs.next() is None
        )

    def _stop(self, control: ControlSocket | None) -> None:
        """Sources and pipelines first, then what they made is committed and, if the link is
        up, sent; three quarters of the time at most for all of it."""
        deadline = time.monotonic() + STOP_S
        if self.server is not None:
            self.server.stop()
        if self.wishes is not None:
            self.wishes.stop(STOP_S / 3)
        if self.delegated is not None:
            self.delegated.stop()
        self.supervisor.stop(STOP_S / 3)
        self.decisions.stop()
        self.drifting.stop()
        if self.commands is not None:
            self.commands.stop()
        self.outbox.flush(max(0.1, deadline - time.monotonic() - STOP_S / 2))
        if self.sync is not None:
            self._send_the_last(deadline - STOP_S / 4)
            self.sync.stop(max(0.2, deadline - time.monotonic() - 0.5))
        self.outbox.close(max(0.5, deadline - time.monotonic()))
        if control is not None:
            control.close()
            _quietly(withdraw, self.folder)
        if self._boots is not None and self._stopping.is_set():
            self._boots.ended()
        log.info("stopped")

    def _send_the_last(self, until: float) -> None:
        """What is pending goes out if the link is up; what does not get there in time waits on
        disk for the next start."""
        assert self.sync is not None
        waiting = threading.Event()
        while self.sync.up and self.outbox.stats().pending and time.monotonic() < until:
            if self.sync.held:
                return
            waiting.wait(0.02)

    # --- for others ------------------------------------------------------------------------

    def made_delegated(self) -> Delegated:
        """Whether vendors' delegates may be loaded; made when a model first asks for one."""
        with self._making:
            if self.delegated is None:
                from edgeagent.agent.delegates import open_delegated

                self.delegated = open_delegated(self.folder, self.outbox, lambda: self._alive)
            return self.delegated

    @cached_property
    def profile_name(self) -> str:
        """Name of the board's profile: as configured, or as detected."""
        from edgeagent.device.profile import name_of

        return name_of(self.loaded.config.device.profile)

    def status(self) -> dict[str, Any]:
        """What `edgeagent status` shows."""
        return status(self)

    def restart(self) -> None:
        """End with success and let the service manager start a fresh process."""
        os.kill(os.getpid(), signal.SIGTERM)


def _quietly(work: Callable[..., None], *of: Path) -> None:
    """Do it; that it can't be done is worth a line."""
    try:
        work(*of)
    except StoreError as error:
        log.warning("%s", error)
