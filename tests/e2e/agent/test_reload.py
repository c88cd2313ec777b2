"""SIGHUP, as `systemctl reload` sends it: the configuration is read anew in the same process."""

import os
import signal
from pathlib import Path

from edgeagent.testing.agent import AgentProcess

NAMED = '[device]\nid = "belt-1"\nname = "{name}"\n'


def test_a_reload_takes_the_new_files_and_keeps_the_process(tmp_path: Path) -> None:
    with AgentProcess(NAMED.format(name="one"), tmp_path) as agent:
        first = agent.until(lambda status: status["name"] == "one" and status)
        (tmp_path / "agent.toml").write_text(NAMED.format(name="two"))
        os.kill(agent.pid, signal.SIGHUP)
        second = agent.until(lambda status: status["name"] == "two" and status)
        assert agent.process is not None and agent.process.poll() is None
        assert second["config"] != first["config"]
        # An order that comes while it is just being carried out must not end the agent.
        (tmp_path / "agent.toml").write_text(NAMED.format(name="three"))
        for _ in range(20):
            os.kill(agent.pid, signal.SIGHUP)
        agent.until(lambda status: status["name"] == "three")
        assert agent.process.poll() is None

        # A wrong file leaves the good one in force.
        (tmp_path / "agent.toml").write_text("[device\n")
        os.kill(agent.pid, signal.SIGHUP)
        stale = agent.until(lambda status: status["state"] == "degraded" and status)
        assert stale["name"] == "three"
        assert any("agent.toml" in reason for reason in stale["reasons"])
