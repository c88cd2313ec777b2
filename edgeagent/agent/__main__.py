"""``python -m edgeagent.agent``"""

import sys

from edgeagent.agent import main

sys.exit(main())
