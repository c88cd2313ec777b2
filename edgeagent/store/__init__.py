"""The store: the outbox of records, the journal of commands, evidence, and small memories.

`outbox.Outbox` is what the agent uses; `verify` and `export` read a database file, with or
without an agent beside it. One thread writes (`writer`, `commit`); what may be done to the
account is `ledger`; a full disk is the affair of `space`, `room` and `thin`; damaged, cloned
and lost databases that of `epochs`, `former` and `carry`.
"""
