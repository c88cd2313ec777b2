"""From predictions to what is worth telling: tracks, zones, rules, events, redaction."""
