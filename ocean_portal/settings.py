"""All settings of the portal, read from the environment. The table in README.md says what each is for.

Values come from the process environment, or from the file that PORTAL_ENV_FILE names (default: `.env` beside
manage.py). Production refuses to start half-configured; `make demo` makes its own secrets once, in the ignored `.env`.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import Env

BASE_DIR = Path(__file__).resolve().parent.parent


def _is_fernet_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == 32
    except ValueError:
        return False


env = Env()
_env_file = os.environ.get("PORTAL_ENV_FILE", str(BASE_DIR / ".env"))
if _env_file and Path(_env_file).is_file():
    env.read_env(_env_file, recurse=False)

DEBUG = env.bool("PORTAL_DEBUG", False)
DEMO = env.bool("PORTAL_DEMO", False)

SECRET_KEY = env.str("PORTAL_SECRET_KEY", "")
if len(SECRET_KEY) < 50:
    raise ImproperlyConfigured(
        "PORTAL_SECRET_KEY is missing or shorter than 50 characters. Set it in the environment or in .env; "
        "`make demo` makes one for a demo."
    )
# Fernet keys, the first encrypts, all decrypt: put a new one in front to rotate.
WALLET_KEYS: list[str] = env.list("PORTAL_WALLET_KEYS", [])
if not WALLET_KEYS or not all(_is_fernet_key(key) for key in WALLET_KEYS):
    raise ImproperlyConfigured(
        "PORTAL_WALLET_KEYS is missing or has a part that is no key: they encrypt wallet keys at rest. Make one with "
        "`python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`."
    )

ALLOWED_HOSTS = env.list("PORTAL_HOSTS", ["localhost", "127.0.0.1"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("PORTAL_ORIGINS", [])
# Where people reach the portal: the start of the links in e-mails, which no request tells of.
PORTAL_URL = env.str("PORTAL_URL", (CSRF_TRUSTED_ORIGINS or ["http://localhost:8000"])[0])
HTTPS = env.bool("PORTAL_HTTPS", not (DEBUG or DEMO))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = env.int("PORTAL_HSTS_SECONDS", 31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = bool(SECURE_HSTS_SECONDS)
BEHIND_PROXY = env.bool("PORTAL_BEHIND_PROXY", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "jobs.apps.JobsConfig",  # after allauth: its admin takes some of allauth's pages away
    "jobs.apps.OperatorsConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_q",
    "heroicons",
]

MIDDLEWARE = [
    "jobs.web.BrowserRulesMiddleware",  # outermost: what the others answer by themselves is a page too
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "jobs.web.LastSeenMiddleware",
    "jobs.web.PortalMiddleware",
]

ROOT_URLCONF = "ocean_portal.urls"
WSGI_APPLICATION = "ocean_portal.wsgi.application"
AUTH_USER_MODEL = "jobs.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "jobs.web.page_context",
            ],
        },
    },
]

VAR_DIR = Path(env.str("PORTAL_VAR", str(BASE_DIR / "var"))).resolve()

DATABASES = {"default": env.dj_db_url("PORTAL_DATABASE_URL", f"sqlite:///{VAR_DIR / 'portal.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)  # SQLite makes the file, but not its folder
    # Several processes write: readers never wait (WAL), writers take their lock at the start of a transaction
    # (IMMEDIATE, else two readers that both want to write fail at once), and wait for it (timeout, seconds).
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Failed sign-ins are counted here, for all processes of the web server together. The table comes with a migration.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # so many strangers cannot push one another's counts out
    }
}

# Accounts. The doors in jobs/doors say who may come in, and how.
SIGN_UP = env.str("PORTAL_SIGN_UP", "invitation")
if SIGN_UP not in ("open", "invitation", "closed"):
    raise ImproperlyConfigured(f"PORTAL_SIGN_UP is “{SIGN_UP}”; it has to be open, invitation or closed.")
ACCOUNT_ADAPTER = "jobs.doors.accounts.AccountDoor"
ACCOUNT_LOGIN_METHODS = {"email", "username"}  # one field takes both
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_FORMS = {
    "signup": "jobs.doors.forms.SignUpForm",
    "change_password": "jobs.doors.forms.ChangeForm",
    "set_password": "jobs.doors.forms.FirstPasswordForm",
    "reset_password_from_key": "jobs.doors.forms.ResetForm",
}
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # before e-mail addresses change
ACCOUNT_USERNAME_BLACKLIST = ["admin", "root", "operator", "portal", "worker"]
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",  # key: the account, whichever of its names is typed
    "reset_password": "10/m/ip,3/m/key",
    "signup": "10/m/ip",
}
MFA_ADAPTER = "jobs.doors.factors.FactorDoor"
MFA_FORMS = {
    "add_webauthn": "jobs.doors.forms.NewKeyForm",
    "authenticate_webauthn": "jobs.doors.forms.KeyForm",
    "edit_webauthn": "jobs.doors.forms.KeyNameForm",
    "login_webauthn": "jobs.doors.forms.KeyAloneForm",
    "reauthenticate_webauthn": "jobs.doors.forms.KeyAgainForm",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Ocean Portal"
MFA_TOTP_TOLERANCE = 1  # one step of 30 s early or late: clocks differ
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = (
    DEBUG or DEMO
)  # http://localhost; browsers themselves refuse any other http

# The sign-in of an organisation (OpenID Connect): all four or none.
OIDC_NAME = env.str("PORTAL_OIDC_NAME", "")
OIDC_ISSUER = env.str("PORTAL_OIDC_ISSUER", "")
OIDC_CLIENT_ID = env.str("PORTAL_OIDC_CLIENT_ID", "")
_oidc_secret = env.str("PORTAL_OIDC_CLIENT_SECRET", "")
OIDC = bool(OIDC_NAME and OIDC_ISSUER and OIDC_CLIENT_ID and _oidc_secret)
if not OIDC and (OIDC_NAME or OIDC_ISSUER or OIDC_CLIENT_ID or _oidc_secret):
    raise ImproperlyConfigured(
        "PORTAL_OIDC_NAME, PORTAL_OIDC_ISSUER, PORTAL_OIDC_CLIENT_ID and PORTAL_OIDC_CLIENT_SECRET belong together: "
        "set all four, or none."
    )
if OIDC and not (
    urlsplit(OIDC_ISSUER).scheme == "https" or urlsplit(OIDC_ISSUER).hostname in ("localhost", "127.0.0.1")
):
    raise ImproperlyConfigured("PORTAL_OIDC_ISSUER has to be an https address.")
SOCIALACCOUNT_ADAPTER = "jobs.doors.organisation.OrganisationDoor"
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True  # whom it may meet is decided by the door
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": "organisation",
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": _oidc_secret,
                "settings": {"server_url": OIDC_ISSUER, "oauth_pkce_enabled": True},
            }
        ]
        if OIDC
        else []
    }
}

# E-mail: of sign-up and forgotten passwords, invitations, and jobs that end.
_mail = env.dj_email_url(
    "PORTAL_EMAIL_URL", f"file:///{VAR_DIR / 'mail'}" if DEBUG or DEMO else "smtp://localhost:25"
)
if "EMAIL_BACKEND" not in _mail:
    raise ImproperlyConfigured(
        "PORTAL_EMAIL_URL begins with a word that is not known. smtp:// is plain, submission:// is with STARTTLS, "
        "smtp://…?ssl=true with TLS from the start, file:/// writes files."
    )
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_FILE_PATH = _mail["EMAIL_FILE_PATH"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"], _mail["EMAIL_PORT"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"], _mail["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail["EMAIL_USE_TLS"], _mail["EMAIL_USE_SSL"]
EMAIL_TIMEOUT = 10  # seconds: a person may be waiting
_host = next((host.lstrip(".") for host in ALLOWED_HOSTS if host != "*"), "localhost")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("PORTAL_EMAIL_FROM", f"Ocean Portal <portal@{_host}>")

Q_CLUSTER: dict[str, Any] = {
    "name": "ocean-portal",
    "orm": "default",  # the queue row commits with the job: a transactional outbox
    "workers": env.int("PORTAL_WORKERS", 4),
    "poll": 0.1,
    "timeout": 120,
    "retry": 4
    * 3600,  # longer than the longest download; never relied on: the pulse makes due work due again
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": -1,  # keep no successes: JobEvents are the record
    "catch_up": False,
    "queue_limit": 16,
    "label": "Queue",
    "log_level": "WARNING",
}

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("PORTAL_TIME_ZONE", "UTC")
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = (
    None if DEBUG or DEMO else BASE_DIR / "staticfiles"
)  # there files are served from where they lie
STATICFILES_DIRS = [BASE_DIR / "static"]
# The one file that is uploaded is a keystore: read from memory, never written to a temporary file. A longer one is dropped.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 100_000
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": env.str("PORTAL_STORAGE", str(VAR_DIR / "storage"))},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if not (DEBUG or DEMO)
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG or DEMO

# The largest single result and the most that a job may leave, in bytes; what is larger stays with the node.
MAX_RESULT_BYTES = env.int("PORTAL_MAX_RESULT_BYTES", 20 * 1024**3)
MAX_ARCHIVE_FILES = env.int("PORTAL_MAX_ARCHIVE_FILES", 2000)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # It names whole URLs: those of signed calls, with the signature, when a node's answer is odd.
    "loggers": {"urllib3": {"level": "ERROR"}},
    "root": {"handlers": ["stderr"], "level": env.str("PORTAL_LOG_LEVEL", "WARNING")},
}
