"""One version brought to many devices, in waves, by evidence. Read `plan` first, then `step`."""
