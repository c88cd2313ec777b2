"""Sensors: probes give readings, channels say what they mean, a grid puts them into windows.

    probe → calibrate → align → cut → Window

A probe is naive (`probe`); `source` asks one, or lets `strands` ask several at a time so that a
slow or dead one holds up nobody else.
"""
