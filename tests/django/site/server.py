"""Serves the site with waitress, and answers questions about it.

It prints `ready 127.0.0.1:PORT` or `ready unix:PATH` when it accepts connections. Then each line
on standard input gets one line on standard output:

    under_way       under_way N       requests that the application is answering
    rows            rows N            session records; 0 for signed_cookies, which stores none
    keys            keys K1 K2 ...
    authenticated   authenticated N   records of somebody who is logged in
    delete KEY      ok
    clear           ok                empties the store

What fails is answered `error ...`. The server ends when standard input does, so that it never
outlives the test that started it, and on SIGTERM. A data directory may be served again.
"""
import argparse
import json
import logging
import os
import shutil
import signal
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(prog="serve RELEASE")
    parser.add_argument("--release-dir", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--data", required=True, help="a directory; made if it is not there")
    parser.add_argument(
        "--backend", default="db", choices=["db", "cache", "cached_db", "file", "signed_cookies"]
    )
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unix", metavar="PATH")
    return parser.parse_args()


def parse_option(option):
    """A value is JSON where it can be read as JSON, otherwise the text as it stands."""
    key, _, value = option.partition("=")
    try:
        value = json.loads(value)
    except ValueError:
        pass
    return key, value


def lay_out(args):
    """Fills a fresh data directory; leaves one that was served before as it is."""
    import prepare

    sessions = os.path.join(args.data, "sessions")
    if not os.path.isdir(sessions):
        os.makedirs(sessions)
    database = os.path.join(args.data, "db.sqlite3")
    if not os.path.exists(database):
        made = prepare.template(args.release_dir, args.users)
        if not os.path.exists(made):
            # In a process of its own, because Django's settings are read once for each process.
            import subprocess

            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prepare.py")
            subprocess.check_call([sys.executable, script, args.release_dir, str(args.users)])
        shutil.copyfile(made, database)


class DatabaseStore(object):
    """The table is read past Django: counting must not take part in its transactions."""

    def __init__(self, data):
        self.connection = sqlite3.connect(
            os.path.join(data, "db.sqlite3"), timeout=60, isolation_level=None, check_same_thread=False
        )
        # Readers and the writer do not wait for each other. The mode is kept in the file; this
        # connection, never closed, keeps the log from being folded up after each request of 1.4.
        self.connection.execute("PRAGMA journal_mode = WAL").fetchall()

    def count(self):
        return self.connection.execute("SELECT count(*) FROM django_session").fetchone()[0]

    def records(self):
        from django.contrib.sessions.backends.db import SessionStore

        for key, data in self.connection.execute("SELECT session_key, session_data FROM django_session"):
            yield key, SessionStore().decode(data)

    def clear(self):
        from django.core.cache import cache

        self.connection.execute("DELETE FROM django_session")
        # For cached_db, which would go on serving what it has cached.
        cache.clear()


class CacheStore(object):
    def count(self):
        return sum(1 for _ in self.keys())

    def keys(self):
        from django.contrib.sessions.backends.cache import KEY_PREFIX
        from django.core.cache import cache

        for name in list(cache._cache):
            _, found, key = name.partition(KEY_PREFIX)
            if found:
                yield key

    def records(self):
        from django.contrib.sessions.backends.cache import KEY_PREFIX
        from django.core.cache import cache

        for key in self.keys():
            yield key, cache.get(KEY_PREFIX + key) or {}

    def clear(self):
        from django.core.cache import cache

        cache.clear()


class FileStore(object):
    def __init__(self):
        from django.conf import settings

        self.directory = settings.SESSION_FILE_PATH
        self.prefix = settings.SESSION_COOKIE_NAME

    def files(self):
        # Files that are being written carry a suffix until they are renamed.
        return [f for f in os.listdir(self.directory) if f.startswith(self.prefix) and "." not in f[len(self.prefix):] and "_out" not in f]

    def count(self):
        return len(self.files())

    def records(self):
        from django.contrib.sessions.backends.file import SessionStore

        for name in self.files():
            try:
                with open(os.path.join(self.directory, name), "rb") as record:
                    yield name[len(self.prefix):], SessionStore().decode(record.read())
            except IOError:
                # Deleted since it was listed.
                pass

    def clear(self):
        for name in self.files():
            os.unlink(os.path.join(self.directory, name))


class NoStore(object):
    """signed_cookies keeps its sessions with the clients."""

    def count(self):
        return 0

    def records(self):
        return ()

    def clear(self):
        pass


def open_store(backend, data):
    # The users are in the database whatever keeps the sessions, so it is always opened.
    database = DatabaseStore(data)
    if backend in ("db", "cached_db"):
        return database
    store = {"cache": CacheStore, "file": FileStore, "signed_cookies": NoStore}[backend]()
    store.database = database
    return store


class Counted(object):
    """The application, and how many requests it is answering."""

    def __init__(self, application):
        self.application = application
        self.lock = threading.Lock()
        self.under_way = 0

    def __call__(self, environ, start_response):
        self.add(1)
        try:
            return self.application(environ, start_response)
        finally:
            self.add(-1)

    def add(self, number):
        with self.lock:
            self.under_way += number


def answer(application, store, line):
    verb, _, argument = line.partition(" ")
    if verb == "under_way":
        return "under_way %d" % application.under_way
    if verb == "rows":
        return "rows %d" % store.count()
    if verb == "keys":
        return " ".join(["keys"] + sorted(key for key, _ in store.records()))
    if verb == "authenticated":
        return "authenticated %d" % sum("_auth_user_id" in record for _, record in store.records())
    if verb == "delete":
        from django.conf import settings

        engine = __import__(settings.SESSION_ENGINE, fromlist=["SessionStore"])
        engine.SessionStore().delete(argument)
        return "ok"
    if verb == "clear":
        store.clear()
        return "ok"
    return "error no such command: %s" % verb


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def obey(application, store, stop):
    for line in iter(sys.stdin.readline, ""):
        try:
            reply = answer(application, store, line.rstrip("\n"))
        except Exception as error:
            reply = "error %r" % error
        say(reply)
    stop()


def main():
    args = arguments()
    args.data = os.path.abspath(args.data)
    lay_out(args)
    os.environ["FLOODWALL_SITE"] = json.dumps(
        {
            "data": args.data,
            "backend": args.backend,
            "options": dict(parse_option(option) for option in args.option),
        }
    )
    os.environ["DJANGO_SETTINGS_MODULE"] = "rig.settings"
    import rig
    import rig.sqlite
    import waitress
    from django.core.wsgi import get_wsgi_application

    # Tests provoke errors by the thousand, and waitress warns of every queued request.
    logging.disable(logging.CRITICAL)
    application = Counted(get_wsgi_application())
    store = open_store(args.backend, args.data)

    # /echo/ must show every header that came, so waitress may not clear any.
    options = {
        "threads": args.threads,
        "connection_limit": 1000,
        "backlog": 1024,
        "clear_untrusted_proxy_headers": False,
    }
    if args.unix:
        server = waitress.create_server(application, unix_socket=args.unix, **options)
        address = "unix:" + args.unix
    else:
        server = waitress.create_server(application, host="127.0.0.1", port=args.port, **options)
        address = "127.0.0.1:%d" % int(server.effective_port)

    def stop(*_):
        # At once: threads may sit in a slow view, and nothing here outlives the test anyway.
        if args.unix and os.path.exists(args.unix):
            os.unlink(args.unix)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    warm_up(application)
    say("ready " + address)
    control = threading.Thread(target=obey, args=(application, store, stop))
    control.daemon = True
    control.start()
    server.run()


def warm_up(application):
    """Loads the views before the first request, whose time a test may be measuring."""
    from django.core.urlresolvers import resolve

    resolve("/")


if __name__ == "__main__":
    main()
