"""Who signs what, for how long, and where its key lies.

=============  ==========================================  ===================  =================
role           says                                        signed by            valid for
=============  ==========================================  ===================  =================
root           whose keys count for the other roles        k of n safe keys     a year
targets        which key may sign which model; operators   k of n safe keys     a year
model-{name}   the files of all versions of one model      that model's key     a year
snapshot       which versions of those files belong        the online key       30 days
               together
timestamp      which snapshot is the newest                the online key       7 days
=============  ==========================================  ===================  =================

Safe keys lie in a safe, each at another place; a thief needs k of them. The online key lies where
`fleet serve` renews the timestamp each day: with it alone a thief can hold back what is new or
mix what is signed, for as long as its signatures last, and can't sign a model. A model's key lies
with those who publish it, and is good for that model only.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from edgeagent.errors import UsageError

DAYS = {"root": 365, "targets": 365, "model": 365, "snapshot": 30, "timestamp": 7}
RENEW_AT = 0.5
"""Share of its life after which what the online key signs is signed anew. The timestamp is
renewed each day besides: its age tells a device how new its news are."""
TIMESTAMP_EVERY = timedelta(days=1)
SOON = timedelta(days=45)
"""Before the end of what only a person can renew, it is told."""
ONLINE = ("snapshot", "timestamp")
_MODEL = re.compile(r"[a-z0-9-]{1,64}")


def role_of(model: str) -> str:
    """The role of a model. Raises UsageError for what can't be a model's name."""
    if _MODEL.fullmatch(model) is None:
        raise UsageError(f"{model!r} is no name of a model", remedy="Use a-z, 0-9 and -.")
    return f"model-{model}"


def paths_of(model: str) -> list[str]:
    """What a model's key may sign. A star is one name, never a path (TUF §4.5)."""
    return [f"models/{model}/*/*", f"models/{model}/*/*/*", f"patches/{model}/*"]


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def end_of(role: str) -> datetime:
    """When something that is signed now expires."""
    kind = "model" if role.startswith("model-") else role
    return now() + timedelta(days=DAYS[kind])
