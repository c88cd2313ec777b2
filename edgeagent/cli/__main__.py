"""``python -m edgeagent.cli``"""

from edgeagent.cli import main

main()
