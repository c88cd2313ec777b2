"""The fastest configuration of a model that is proven on this device: found, explained, kept.

`space` says what could be tried, `search` tries it, `choice` remembers what was chosen and under
which circumstances that holds.
"""
