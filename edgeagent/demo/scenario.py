"""The demo from beginning to end. Read `play` first; the acts are in `acts`."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.demo import acts, change, recipe
from edgeagent.demo.folders import Folders
from edgeagent.demo.glare import draw_glare
from edgeagent.demo.needs import Kit
from edgeagent.demo.scene import Scene, Wishes
from edgeagent.demo.show import Show
from edgeagent.demo.stage import Stage
from edgeagent.demo.story import Story

SHORTEST_S = 10.0
LONGEST_S = 60.0
CUT, KILL, RETURN, FORGET = 0.25, 0.42, 0.6, 0.74
"""When the uplink is cut, the agent killed, the uplink returns and the broker forgets, as shares
of the whole."""


def play(folders: Folders, kit: Kit, wishes: Wishes, show: Show) -> Story:
    """The whole demo on an empty folder; what was seen of it.

    Raises EdgeAgentError where something fails that should not. Nothing is left running.
    """
    if kit.clip is not None and not wishes.camera:
        draw_glare(kit.clip, folders.clip)
        kit = replace(kit, clip=folders.clip)
    with Stage(folders, kit) as stage:
        config = recipe.configuration(
            kit, stage.uplink_port, stage.protocol, wishes.span_s, wishes.camera
        )
        folders.config.write_text(config, encoding="utf-8")
        scene = Scene(stage, folders, wishes, show)
        scene.story.missing = kit.missing
        acts.start(scene)
        scene.watch_until(CUT)
        acts.cut_uplink(scene)
        scene.watch_until(KILL)
        acts.kill_and_restart(scene)
        scene.watch_until(RETURN)
        acts.restore_uplink(scene)
        scene.watch_until(FORGET)
        acts.forget(scene)
        scene.watch_until(1.0)
        change.bad_then_good(scene, folders)
        acts.close(scene, folders)
        return scene.story
