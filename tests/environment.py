"""A pytest plugin that points the settings at the tests' own secrets, before Django reads them."""

import os
from pathlib import Path

os.environ["PORTAL_ENV_FILE"] = str(Path(__file__).with_name("portal.env"))
