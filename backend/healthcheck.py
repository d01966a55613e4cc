"""Whether the backend on this machine says that it is well: exit code 0 or 1, for Docker's HEALTHCHECK."""

import base64
import sys
import urllib.error
import urllib.request

from omni_timeline.service.settings import Settings

settings = Settings.from_env()
request = urllib.request.Request(f"http://127.0.0.1:{settings.port}/health")
if settings.basic_auth_user is not None:
    words = f"{settings.basic_auth_user}:{settings.basic_auth_password}"
    request.add_header("Authorization", "Basic " + base64.b64encode(words.encode()).decode())
try:
    urllib.request.urlopen(request, timeout=4)
except (urllib.error.URLError, TimeoutError) as error:
    sys.exit(f"/health: {error}")
