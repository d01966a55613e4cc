"""gunicorn -c backend/gunicorn.conf.py: the same server as `omni-timeline serve`, set by environment variables."""

from omni_timeline.errors import RequestError
from omni_timeline.service.server import gunicorn_options, service_options
from omni_timeline.service.settings import Settings

try:
    settings = Settings.from_env()
    service_options(settings)  # reads the prompt's file
except RequestError as error:
    raise SystemExit(f"omni-timeline: {error}") from None

wsgi_app = "omni_timeline.service.server:create_app()"
globals().update(gunicorn_options(settings))
