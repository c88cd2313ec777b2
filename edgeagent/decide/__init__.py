"""From predictions to what is worth telling: tracks, zones, lines, rules, events, redaction."""

ACTIONS = ("event", "snapshot", "clip", "state")
"""What ``do`` may list. A snapshot and a clip hang on an event, so they ask for one too."""
