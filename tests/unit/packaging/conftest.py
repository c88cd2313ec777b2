import sys
from pathlib import Path

# The builders are scripts that lie together, not a package.
for folder in ("deb", "prove"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "packaging" / folder))
