"""Everything that can go wrong, as one tree.

    EdgeAgentError
    ├── ConfigError          a configuration is wrong                     exit 78  never
    ├── UsageError           a call makes no sense                        exit 2   never
    ├── NotFound             a named thing does not exist                 exit 3   never
    ├── NotPermitted         the operating system or a policy says no     exit 77  never
    ├── Unavailable          a peer or a device is not there              exit 69  backoff
    │   ├── SourceLost       a source stopped giving samples              exit 69  reopen
    │   └── LinkDown         no broker                                    exit 69  backoff
    ├── Busy                 somebody else holds it; try again            exit 75  backoff
    ├── InputError           a picture, recording or row can't be used    exit 1   never
    ├── ModelError           a model or its package can't be used         exit 1   never
    │   ├── PackageError     model.toml or a file of the package          exit 1   never
    │   ├── RuntimeMissing   the runtime is not installed                 exit 69  never
    │   ├── ProofFailed      a version did not prove itself here          exit 1   never
    │   └── InferenceError   the runtime refused a call                   exit 1   reopen
    │       └── CodeFailed   a package's own code did; it mends itself    exit 1   backoff
    ├── StoreError           the outbox can't do what was asked           exit 70  backoff
    │   ├── StoreFull        no space left for it                         exit 70  backoff
    │   ├── StoreCorrupt     the database is damaged                      exit 70  reopen
    │   └── StoreTooNew      written by a newer agent                     exit 78  never
    ├── Untrusted            signatures, hashes or ages say no            exit 77  never
    └── CommandRejected      a command can't be accepted                  exit 1   never

``SourceEnded`` is not an error: a finite source says that it has finished.

``retry`` tells a supervisor what to do (``never``, ``backoff``: the same call may work
later, ``reopen``: close and open anew); nobody reads message texts to decide. ``exit_code``
is what the command line returns. ``remedy`` is one sentence a person can act on.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Literal

Retry = Literal["never", "backoff", "reopen"]


class EdgeAgentError(Exception):
    """Root of all expected failures. ``str()`` is the sentence shown to people."""

    retry: ClassVar[Retry] = "never"
    exit_code: ClassVar[int] = 70
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class ConfigError(EdgeAgentError):
    """The configuration is wrong. ``faults`` holds one line per fault."""

    exit_code = 78
    code = "bad-configuration"

    def __init__(self, message: str, *, remedy: str = "", faults: tuple[object, ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.faults = faults


class UsageError(EdgeAgentError):
    exit_code = 2
    code = "usage"


class NotFound(EdgeAgentError):
    exit_code = 3
    code = "not-found"


class NotPermitted(EdgeAgentError):
    exit_code = 77
    code = "not-permitted"


class Unavailable(EdgeAgentError):
    retry: ClassVar[Retry] = "backoff"
    exit_code = 69
    code = "unavailable"


class SourceLost(Unavailable):
    retry: ClassVar[Retry] = "reopen"
    code = "source-lost"


class LinkDown(Unavailable):
    code = "link-down"


class Busy(EdgeAgentError):
    retry: ClassVar[Retry] = "backoff"
    exit_code = 75
    code = "busy"


class InputError(EdgeAgentError):
    exit_code = 1
    code = "bad-input"


class ModelError(EdgeAgentError):
    exit_code = 1
    code = "bad-model"


class PackageError(ModelError):
    code = "bad-package"


class RuntimeMissing(ModelError):
    exit_code = 69
    code = "runtime-missing"


class ProofFailed(ModelError):
    """A version did not prove itself on this device. ``reason`` is the stable code of the
    contract: crash | timeout | golden | parity | budget | delegate."""

    code = "proof-failed"

    def __init__(self, reason: str, sentence: str, *, remedy: str = "", died: bool = False) -> None:
        super().__init__(sentence, remedy=remedy)
        self.reason = reason
        self.died = died
        """It did not only answer wrongly: it took its process down, or had to be ended."""


class InferenceError(ModelError):
    retry: ClassVar[Retry] = "reopen"
    code = "inference-failed"


class CodeFailed(InferenceError):
    """The `handler.py` of a package gave no answer that can be used. Its process is started again
    by itself: to open the model anew would not help."""

    retry = "backoff"
    code = "handler-failed"


class StoreError(EdgeAgentError):
    retry: ClassVar[Retry] = "backoff"
    code = "store"


class StoreFull(StoreError):
    code = "store-full"


class StoreCorrupt(StoreError):
    retry: ClassVar[Retry] = "reopen"
    code = "store-corrupt"


class StoreTooNew(StoreError):
    retry: ClassVar[Retry] = "never"
    exit_code = 78
    code = "store-too-new"


class Untrusted(EdgeAgentError):
    """Signed by nobody who may, changed, too old, or not what was signed."""

    exit_code = 77
    code = "untrusted"


class CommandRejected(EdgeAgentError):
    """A command is refused. ``reason`` is the stable code put on the wire."""

    exit_code = 1
    code = "rejected"

    def __init__(self, reason: str, detail: str = "", *, remedy: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason, remedy=remedy)
        self.reason = reason
        self.detail = detail


class SourceEnded(Exception):
    """A finite source (files, a recording) has given its last sample."""


FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What the system says where writing is not permitted: to this user, or to anybody."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def unwritable(place: object, error: OSError) -> EdgeAgentError:
    """The failure to write a file or folder, as the system's reason has it: `NotPermitted`,
    `StoreFull`, `NotFound` (its folder), `UsageError` (a file stands in place of a folder)."""
    said = f"{place}: can't be written: {error.strerror}"
    if error.errno in FORBIDDEN:
        return NotPermitted(said, remedy="Name a place that this user may write to.")
    if error.errno in FULL:
        return StoreFull(said, remedy="Free space on the disk.")
    if error.errno == errno.ENOENT:
        return NotFound(said, remedy="Make its folder first.")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return UsageError(said, remedy="Name another place.")
    return StoreError(said, remedy="See what the system says of it: dmesg | tail")


def in_words(error: BaseException) -> str:
    """An error and its remedy as one line for status and logs."""
    if not isinstance(error, EdgeAgentError):
        return repr(error)
    sentence = " ".join(str(error).split())
    if not error.remedy:
        return sentence
    return f"{sentence}{'' if sentence.endswith(('.', '?', '!')) else '.'} {error.remedy}"


def of_code(code: str) -> type[EdgeAgentError]:
    """The class that a stable code stands for, of those that are made of a sentence alone; the
    root where there is none."""
    return _coded(EdgeAgentError).get(code, EdgeAgentError)


def _coded(of: type[EdgeAgentError]) -> dict[str, type[EdgeAgentError]]:
    found: dict[str, type[EdgeAgentError]] = {}
    for kind in of.__subclasses__():
        found |= {kind.code: kind, **_coded(kind)}
    return {
        code: kind for code, kind in found.items() if kind not in (CommandRejected, ProofFailed)
    }
