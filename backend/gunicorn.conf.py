"""gunicorn -c backend/gunicorn.conf.py: the same server as `omni-timeline serve`, set by environment variables."""

from omni_timeline.errors import RequestError
from omni_timeline.service import gunicorn
from omni_timeline.service.settings import Settings

wsgi_app = "omni_timeline.service.app:create_app()"
try:
    globals().update(gunicorn.options(Settings.from_env()))
except RequestError as error:
    raise SystemExit(f"omni-timeline: {error}") from None
