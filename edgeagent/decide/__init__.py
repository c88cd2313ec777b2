"""From predictions to what is worth telling: tracks, zones, rules, events, redaction."""

ACTIONS = ("event", "snapshot")
"""What ``do`` may list. A snapshot hangs on an event, so it asks for one too."""
