"""What the commands of a guide answer now, for whoever writes it:

python tests/guides/show.py docs/engineer.md [part of a heading]
"""

import sys
import tempfile
from pathlib import Path

from guide import sessions
from scenes import SCENES
from theatre import Stage

for session in sessions(Path(sys.argv[1])):
    if session.scene and (sys.argv[2:] or [""])[0].lower() in session.heading.lower():
        print(f"\n## {session.heading}\n*Scene: {session.scene}.*")
        with tempfile.TemporaryDirectory() as folder, Stage(Path(folder) / "home") as stage:
            SCENES[session.scene](stage)
            for typed in session.typed:
                code, said = stage.type(typed)
                same = "" if typed.answered_by(said) else "   # differs from what is shown"
                print(f"$ {typed.command}{same}\n{said}[{code}]")
