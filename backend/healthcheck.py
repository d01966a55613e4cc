"""Whether the backend on this machine says that it is well: exit code 0 or 1, for Docker's HEALTHCHECK."""

import sys
import urllib.error
import urllib.request

from omni_timeline.config import Settings

try:
    urllib.request.urlopen(f"http://127.0.0.1:{Settings.from_env().port}/health", timeout=4)
except (urllib.error.URLError, TimeoutError) as error:
    sys.exit(f"/health: {error}")
