"""Open and run each file named on the command line in a fork of its own; JSON of the outcomes.

A child, because damaged files may take the process with them, which is an outcome as well.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from edgeagent.errors import EdgeAgentError
from edgeagent.infer.litert import find_library, open_litert
from edgeagent.infer.onnx import open_onnx
from edgeagent.infer.session import Options


def outcome(path: Path, runtime: str) -> dict[str, str]:
    try:
        session = (open_litert if runtime == "litert" else open_onnx)(path, Options())
        shapes = [[1 if n < 0 else n for n in spec.shape] for spec in session.inputs]
        tensors = [np.ones(s, i.dtype) for s, i in zip(shapes, session.inputs, strict=True)]
        answer = [output.tolist() for output in session.run(tensors)]
        return {"kind": "answer", "text": json.dumps(answer), "remedy": ""}
    except EdgeAgentError as error:
        return {"kind": type(error).__name__, "text": str(error), "remedy": error.remedy}
    except BaseException as error:
        return {"kind": f"foreign {type(error).__name__}", "text": repr(error), "remedy": ""}


def in_fork(path: Path, runtime: str) -> dict[str, str]:
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        os.close(inlet)
        os.write(outlet, json.dumps(outcome(path, runtime)).encode()[:60000])
        os._exit(0)
    os.close(outlet)
    with os.fdopen(inlet, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"kind": f"signal {os.WTERMSIG(status)}", "text": "", "remedy": ""}
    answer: dict[str, str] = json.loads(data)
    return answer


def main() -> None:
    runtime, *files = sys.argv[1:]
    if runtime == "litert":
        find_library()
    else:
        import onnxruntime  # noqa: F401
    print(json.dumps({file: in_fork(Path(file), runtime) for file in files}))


if __name__ == "__main__":
    main()
