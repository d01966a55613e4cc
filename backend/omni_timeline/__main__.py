"""`python -m omni_timeline` is the command `omni-timeline`."""

import sys

from omni_timeline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
