"""What a person may ask of the engine, at the device or by a command (`models …`, `model-…`)."""

from __future__ import annotations

from msgspec.structs import replace

from edgeagent.errors import NotFound
from edgeagent.update.course import Course, new_id, with_failed
from edgeagent.update.deploy import Deployments
from edgeagent.update.desired import Policy
from edgeagent.update.ports import Refused
from edgeagent.update.truth import Deployment, Hold

_SEE = "See which there are: edgeagent models list"


class Orders:
    """Any thread. An order is carried out between two steps of the engine; what is under way is
    ended for it. `install` and `roll_back` return the id of the change, to be followed."""

    def __init__(self, deployments: Deployments) -> None:
        self.engine = deployments
        self._truths = deployments.house.truths
        self._course: Course = deployments.course

    def install(
        self, model: str, version: str, *, origin: str = "", by: str = "", activate: bool = True,
        policy: Policy | None = None,
    ) -> str:  # fmt: skip
        """Bring a version from ``origin`` (a folder or URL; empty = it is here) through all
        states. Without ``activate`` the one that runs stays.

        Raises: NotFound: it is not here.
        """
        if not origin:
            self.engine.house.library().find(model, version)
        change = Deployment(
            id=new_id(), version=version, by=by, origin=origin, keep=not activate,
            policy=replace(policy or Policy(), downgrade=True),
        )  # fmt: skip
        self.engine.order(lambda: self._replace(model, change))
        return change.id

    def roll_back(self, model: str, by: str = "") -> str:
        """Return to the version before this one. Raises NotFound: there is none."""
        truth = self._truths.get(model)
        if truth.on_trial and truth.deployment is not None:
            id = truth.deployment.id
            self.engine.order(lambda: self._take_back(model, id, by))
            return id
        if not truth.previous:
            raise NotFound(f"there is no version of {model} to go back to", remedy=_SEE)
        change = Deployment(
            id=new_id(), version=truth.previous, by=by, reason="rollback",
            detail=f"{by or 'somebody'} went back from {truth.version}",
            policy=Policy(soak_s=0.0, downgrade=True),
        )  # fmt: skip
        self.engine.order(lambda: self._return(model, change))
        return change.id

    def hold(self, model: str, hold: Hold) -> None:
        """Change nothing about a model until `unhold`. What is on trial is still judged."""
        self._truths.change(model, hold=hold)
        self.engine.wake(news=True)

    def unhold(self, model: str) -> bool:
        """False = it was not held."""
        held = self._truths.get(model).hold is not None
        if held:
            self._truths.change(model, hold=None)
            self.engine.wake(news=True)
        return held

    def remove(self, model: str, version: str) -> None:
        """Remove a version that a deployment brought and nobody needs.

        Raises: NotFound; Refused (``in use``).
        """
        truth = self._truths.get(model)
        if version not in truth.installed:
            raise NotFound(f"{model} {version} was not installed here", remedy=_SEE)
        if truth.open or version == truth.version:
            said = (
                f"{model} {version} runs" if version == truth.version else "a change is under way"
            )
            raise Refused("in use", said, remedy="Wait for its end, or go back first.")
        left = tuple(one for one in truth.installed if one != version)
        previous = "" if truth.previous == version else truth.previous
        self._truths.change(model, installed=left, previous=previous)
        self.engine.house.stock.remove(model, [version])
        self.engine.wake(news=True)

    # --- on the engine's thread

    def _replace(self, model: str, change: Deployment) -> None:
        if self._truths.get(model).open:
            who = change.by or "somebody"
            self._course.end(model, "superseded", "superseded", f"{who} wants {change.version}")
        self._told(model)
        # A person may try again what has failed.
        failed = {
            v: why for v, why in self._truths.get(model).failed.items() if v != change.version
        }
        self._truths.change(model, failed=failed)
        self._course.begin(model, change)

    def _take_back(self, model: str, id: str, by: str) -> None:
        truth = self._truths.get(model)
        if truth.on_trial and truth.deployment is not None and truth.deployment.id == id:
            said = f"{by or 'somebody'} asked for it"
            self._course.end(model, "rolled-back", "rollback", said)

    def _return(self, model: str, change: Deployment) -> None:
        if self._truths.get(model).open:
            self._course.end(model, "cancelled", "rollback", change.detail)
        self._told(model)
        truth = self._truths.get(model)
        if truth.version != change.version:
            failed = with_failed(truth.failed, truth.version, change.detail)
            failed.pop(change.version, None)
            self._truths.change(model, failed=failed)
        # It ran here and was good: nothing is to be proven but that it opens.
        self._course.begin(model, change, "activating")

    def _told(self, model: str) -> None:
        """What has ended is told before something else takes its place. Raises where the outbox
        can't take it now; then the order is carried out later."""
        if self._truths.get(model).untold:
            self._course.tell(model)
