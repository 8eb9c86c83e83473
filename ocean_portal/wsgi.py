"""The entry point for a WSGI server: `gunicorn ocean_portal.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ocean_portal.settings")

application = get_wsgi_application()
