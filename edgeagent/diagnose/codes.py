"""Every stable code that an agent says, with what it means and what to do: for the reference page,
and for whoever met one in a log, a record or an answer.

Codes are promises: programs act on them. The texts beside them may change.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from edgeagent.store import erase, group, intake, ledger, room


class Code(Struct, frozen=True):
    """One code of one area."""

    area: str
    code: str
    cause: str
    remedy: str = ""


AREAS = {
    "gap": "Why a record is not delivered (`reason` of a gap)",
    "command": "How a command ended (`reason` of its status)",
    "model": "Why a version of a model is not run (`reason` of a deployment)",
    "camera": "What is wrong with a camera's picture (`data.fault` of a health record)",
    "why": "Why there is no event (`cause` of `edgeagent why`)",
    "doctor": "What `edgeagent doctor` looks for (`check` of a finding)",
    "log": "What a loss of the link was (`EDGEAGENT_CODE` in journald; of units: the code of an "
    "error). `MESSAGE_ID` is the first 32 digits of SHA-256 of `edgeagent:CODE`",
    "link": "Why a broker says no (reason codes of MQTT 5)",
}
"""Area → its title, in the order of the page."""

_GAPS = {
    group.STALLED: ("Records came faster than the medium took them.",
                    "Use a faster medium, or lower record.every."),
    intake.TOO_LARGE: ("One record is larger than a message may be.",
                       "Raise sync.max_message, or record less of each result."),
    intake.FULL_NEWEST: ("The outbox was full and keeps what it has.",
                         "Raise outbox.max, or set outbox.when_full."),
    room.THINNED: ("The outbox was full: of older results only some were kept.",
                   "Raise outbox.max for longer times offline."),
    room.OLDEST: ("The outbox was full: the oldest were dropped.",
                  "Raise outbox.max for longer times offline."),
    ledger.NO_LONGER_KEPT: ("A collector asked for what was sent long ago.",
                            "Raise outbox.keep_sent."),
    erase.ERASED: ("Somebody has erased it: edgeagent purge, with --undelivered.",
                   "edgeagent privacy log tells who."),
    erase.RETENTION: ("It was older than [retention] allows, and nobody had got it.",
                      "Mend the link; or raise the age."),
    "database lost": ("The outbox's file was gone at the start.", "dmesg | grep -i error"),
    "database damaged": ("The outbox's file was damaged; what could be read of it is sent.",
                         "dmesg | grep -i error; edgeagent doctor"),
    "database of another machine": ("The data folder was copied from another device.",
                                    "Give each device a machine-id of its own."),
}  # fmt: skip
_COMMANDS = {
    "unknown-type": ("This agent has no such command.", "See its capabilities."),
    "not-allowed": ("The device does not allow this type from afar.", "Name it in commands.allow."),
    "signature-required": ("It counts only with an operator's signature.", "edgeagent fleet sign"),
    "untrusted": ("It is signed by nobody whom this device knows.", "Look into trust.operators."),
    "bad-arguments": ("An argument is missing or wrong.", "The path behind `$` names it."),
    "invalid": ("An argument is missing or wrong.", "The detail names it."),
    "not-json": ("The payload is no JSON object.", "Send one object in UTF-8."),
    "too-large": ("The payload is larger than 256 KiB.", "Send large inputs as files."),
    "too-deep": ("The payload is nested deeper than 16.", "Send a flatter object."),
    "id in use": ("The same id came with other content.", "Use a fresh id for each command."),
    "stale": ("It is older than commands.max_age, or than the journal.", "Send it again."),
    "expired": ("Its `expires` had passed.", "Send it again."),
    "interrupted": ("The agent was restarted while it was being done.", "Send it again."),
    "cancelled": ("Somebody has cancelled it.", ""),
    "already-ended": ("What was to be cancelled had ended.", "There is nothing to do."),
    "journal lost": ("The device does not know an id that was being done.", "Send a fresh one."),
    "journal": ("The journal can't be written.", "edgeagent doctor"),
    "result-too-large": ("The answer is larger than a message may be.", "Ask for less."),
    "internal": ("A fault of the agent.", "Report it with: edgeagent support-bundle"),
}  # fmt: skip
_MODELS = {
    "fetch": ("The files did not come in time.", "edgeagent doctor looks at the way to them."),
    "verify": ("Hashes, lint, agent's version or memory say no.", "edgeagent models lint DIR"),
    "incompatible": ("Labels or inputs do not fit this device's configuration.",
                     "The detail names key and line."),
    "crash": ("It took its process down.", "Use another variant or delegate."),
    "timeout": ("It did not answer in time.", "Use a smaller model, or raise its budget."),
    "golden": ("It does not answer its golden samples as expected.", "edgeagent models golden"),
    "parity": ("It disagrees with the version that runs, on stored samples.",
               "Compare both: edgeagent replay --compare"),
    "budget": ("It takes more time or memory than it may.", "Change [budget] of model.toml."),
    "delegate": ("A delegate that is required took no part.", "edgeagent doctor --all"),
    "shadow": ("Beside the running version it did worse.", "edgeagent models show NAME"),
    "boots": ("The agent did not stay up with it.", "journalctl -u edgeagent -n 100"),
    "held": ("A person at the device holds the model.", "edgeagent models unhold NAME"),
}  # fmt: skip
_CAMERAS = {
    "dark": ("The picture is nearly black.", "Is there light? Is the cap on?"),
    "bright": ("The picture is nearly white.", "Does the sun shine into it? Look at exposure."),
    "blurred": ("It sees less sharply than when it was put up.", "Clean the lens, set the focus."),
    "frozen": ("The same picture comes again and again.", "Switch the camera off and on."),
    "covered": ("Something is close before the lens.", "Take it away, clean the lens."),
    "moved": ("It looks somewhere else.",
              "Put it back, or have the view learned anew: edgeagent devices learn NAME"),
    "garbage": ("Pictures are broken.", "Look at cable, network and power of the camera."),
}  # fmt: skip
LOG = {
    "link-network": ("The broker can't be reached, or the connection broke.",
                     "edgeagent doctor; look at cable, DNS, firewall and mqtt.host."),
    "link-busy": ("The broker has no room now.", "Nothing: it is tried again."),
    "link-denied": ("The broker does not let this device in, or not at a topic.",
                    "Check mqtt.username, its password file and the broker's access rules."),
    "link-taken": ("Another client uses this device's id.",
                   "Give one of the two another device.id."),
    "link-version": ("The broker does not speak this version of MQTT.",
                     "Nothing: 3.1.1 is tried next. Or set mqtt.version."),
    "link-retain": ("The broker keeps no retained messages.", "Allow them at the broker."),
    "link-size": ("A message is larger than the broker takes.", "Lower sync.max_message."),
    "link-payload": ("The broker can't read a message.", "Set sync.encoding and compression."),
    "link-protocol": ("What came was no MQTT, or against its rules.",
                      "Check mqtt.host and port: is it a broker that listens there?"),
}  # fmt: skip
WHY = {
    "event": ("There are events.", "edgeagent why e-NUMBER tells of one."),
    "threshold": ("All that was seen stayed below the threshold.",
                  "Lower its threshold, or retrain the model."),
    "rule": ("No rule held for what was seen.", "Change the rule; try it: edgeagent replay"),
    "few": ("It was not there in as many samples in a row as `on` says.",
            "Lower on, or raise fps of the source."),
    "median": ("The median of its last scores was too low.", "Lower its threshold."),
    "limit": ("More events than `limit` allows.", "Raise limit, or on against flicker."),
    "unrecorded": ("record.events = false.", "Set record = { events = true }."),
    "nothing": ("The model saw no sign of it.", "edgeagent devices try SOURCE"),
    "gate": ("The gate held samples back.", "See pipelines.NAME.gate."),
    "governor": ("The device was too hot or had no time for all samples.", "edgeagent status"),
    "paused": ("The pipeline is stopped or paused.", "edgeagent pipeline start NAME"),
    "skipped": ("Samples could not be used.", "edgeagent doctor"),
    "failed": ("The runtime refused samples.", "edgeagent doctor"),
    "source": ("The source or the model does not work.", "edgeagent doctor"),
    "link": ("There are events, and they can't be sent.", "edgeagent doctor"),
    "outbox": ("There are events, and they can't be kept.", "edgeagent doctor"),
    "off": ("The pipeline is switched off.", "Set enabled = true."),
    "not-running": ("No agent runs.", "sudo systemctl start edgeagent"),
    "not-kept": ("The decisions that led to it are gone.", "Raise storage.decisions."),
}  # fmt: skip


def codes() -> Iterator[Code]:
    """All of them, by area."""
    from edgeagent.diagnose.doctor import CHECKS
    from edgeagent.sync.reasons import known_codes, of_code

    areas = {"gap": _GAPS, "command": _COMMANDS, "model": _MODELS, "camera": _CAMERAS, "why": WHY,
             "log": LOG}  # fmt: skip
    for area, table in areas.items():
        for code, (cause, remedy) in table.items():
            yield Code(area, code, cause, remedy)
    for check in CHECKS:
        yield Code("doctor", check.name, check.about, "The finding names the command.")
    for number in known_codes():
        reason = of_code(number)
        yield Code("link", f"0x{number:02x}", f"{_begun(reason.sentence)}.", reason.advice)


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
