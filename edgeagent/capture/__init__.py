"""Capture: what produces samples. A source is naive; `unit` gives it threads and patience."""
