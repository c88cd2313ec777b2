"""A look at a fleet is whole, or it says what may be missing."""

from __future__ import annotations

from edgeagent.fleet.sight.look import look, told
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.scripted import Script, ScriptedBroker


def test_topics_that_may_not_be_asked_for_are_told() -> None:
    """As a cluster does while it elects a leader: nothing that is retained comes then."""
    script = Script(suback=lambda pattern: 0x80 if "+" in pattern else 1)
    with ScriptedBroker(script) as broker:
        settings = LinkSettings("desk", (Endpoint("127.0.0.1", broker.port),), answer_s=1.0)
        roster, count = look(settings, "edgeagent", names=["status"])
    assert not roster.devices and len(count.refused) == 1
    assert "subscribe to edgeagent/+/status" in told(count) and "may be missing" in told(count)
