"""``python -m edgeagent``"""

from edgeagent.cli import main

if __name__ == "__main__":
    main()
