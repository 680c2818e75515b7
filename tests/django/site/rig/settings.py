"""The settings, from FLOODWALL_SITE: a JSON object with `data` (a directory), `backend`, `users`
and `options`. An option named like a Django setting becomes that setting.
"""
import json
import os

import django

site = json.loads(os.environ["FLOODWALL_SITE"])
data = site["data"]
# Python 2 reads JSON text as unicode, but a cookie's name must be a plain string there.
options = dict(
    (str(key), str(value) if isinstance(value, type(u"")) else value)
    for key, value in site.get("options", {}).items()
)

SECRET_KEY = "a fixed key, so that sessions outlive a restart"
DEBUG = TEMPLATE_DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "rig.urls"
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = (("en", "English"), ("de", "Deutsch"))
USE_I18N = True
STATIC_URL = "/static/"
LOGIN_REDIRECT_URL = "/read/"

# A good hasher would make the logins, and not the sessions, the load of a test.
PASSWORD_HASHERS = ("django.contrib.auth.hashers.MD5PasswordHasher",)

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(data, "db.sqlite3"),
        "ATOMIC_REQUESTS": options.pop("ATOMIC_REQUESTS", False),
        # From 1.6 on a thread keeps its connection; 1.4 opens one for each request.
        "CONN_MAX_AGE": None,
        # SQLite lets one writer in at a time; the others wait this long instead of failing.
        "OPTIONS": {"timeout": 60},
    }
}

# The default would evict sessions beyond the 300th, and so hide a flood.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100 * 1000 * 1000},
    }
}

SESSION_ENGINE = "django.contrib.sessions.backends." + site.get("backend", "db")
SESSION_FILE_PATH = os.path.join(data, "sessions")

INSTALLED_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
)

# What `startproject` of each release writes. LocaleMiddleware is not in it, and reads the session
# on every page.
MIDDLEWARE_CLASSES = (
    # Without it no page has a Content-Length, and waitress closes the connection after each.
    (("django.middleware.http.ConditionalGetMiddleware",) if options.pop("CONTENT_LENGTH", False) else ())
    + ("django.contrib.sessions.middleware.SessionMiddleware",)
    + (("django.middleware.locale.LocaleMiddleware",) if options.pop("LOCALE_MIDDLEWARE", False) else ())
    + (
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    )
    + (
        ("django.contrib.auth.middleware.SessionAuthenticationMiddleware",)
        if django.VERSION >= (1, 7)
        else ()
    )
    + ("django.contrib.messages.middleware.MessageMiddleware",)
)

TEMPLATE_DIRS = (os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates"),)
TEMPLATE_CONTEXT_PROCESSORS = (
    "django.contrib.auth.context_processors.auth",
    "django.core.context_processors.i18n",
    "django.core.context_processors.request",
    "django.contrib.messages.context_processors.messages",
)

# A test provokes thousands of errors; their tracebacks would drown its own output.
LOGGING_CONFIG = None

MESSAGE_STORAGE = "fallback"
SESSION_SERIALIZER = "json"

globals().update(options)

# The two settings that have a short form.
if "." not in MESSAGE_STORAGE:
    MESSAGE_STORAGE = "django.contrib.messages.storage.%s.%sStorage" % (
        MESSAGE_STORAGE,
        MESSAGE_STORAGE.capitalize(),
    )
if "." not in SESSION_SERIALIZER:
    # Read from 1.5.3 on; 1.4 knows pickle only.
    SESSION_SERIALIZER = "django.contrib.sessions.serializers.%sSerializer" % (
        {"json": "JSON", "pickle": "Pickle"}[SESSION_SERIALIZER]
    )
