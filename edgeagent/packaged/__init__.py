"""Code that model packages bring (`handler.py`), kept from doing harm.

`permit` says whose may run, `code` is the parent's side of the process in which it does, `child`
that process, `fence` what the kernel keeps it from, `handled` the decoder and the rule over it.
"""
