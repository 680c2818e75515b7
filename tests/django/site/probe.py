"""probe.py SERVER: tells over HTTP what a request was when it reached the application.

The server, waitress, gunicorn or wsgiref, parses it and makes the environment; Django's request
class and URL resolvers read that. Prints `ready 127.0.0.1:PORT`, and ends with standard input.

An answer has a line for each thing: a name, a space, and its bytes in hex. `view` and `session`
are what Django reads (`!` where it raised an exception; no `session` line where there is none),
`body` is the content, every other line is of the environment. `/?issue=KEY` sets KEY as the session
cookie, once for each request.
"""
import binascii
import json
import os
import signal
import sys
import tempfile
import threading
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["DJANGO_SETTINGS_MODULE"] = "rig.settings"
# Nothing is stored, but the settings want to know where.
os.environ["FLOODWALL_SITE"] = json.dumps({"data": tempfile.gettempdir()})

import rig
import django

if django.VERSION >= (1, 7):
    django.setup()

import reading
from django.core.handlers.wsgi import WSGIRequest


def raw(text):
    return text if isinstance(text, bytes) else text.encode("latin-1", "backslashreplace")


def judged(read):
    try:
        return read()
    except Exception:
        return "!"


def application(environ, start_response):
    said = dict((name, value) for name, value in environ.items() if isinstance(value, (str, bytes)))
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    said["body"] = environ["wsgi.input"].read(length)
    said["view"] = judged(lambda: reading.view(WSGIRequest(environ)))
    session = judged(lambda: reading.session(WSGIRequest(environ)))
    if session is not None:
        said["session"] = session
    lines = [raw(name) + b" " + binascii.hexlify(raw(value)) + b"\n" for name, value in said.items()]
    content = b"".join(lines)
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))]
    verb, _, key = environ.get("QUERY_STRING", "").partition("=")
    if verb == "issue":
        headers.append(("Set-Cookie", "sessionid=%s; Path=/" % key))
    start_response("200 OK", headers)
    return [content]


def say(port):
    sys.stdout.write("ready 127.0.0.1:%d\n" % port)
    sys.stdout.flush()


def until_standard_input_ends(stop):
    def wait():
        while sys.stdin.read(1):
            pass
        stop()

    thread = threading.Thread(target=wait)
    thread.daemon = True
    thread.start()


def waitress():
    import waitress

    server = waitress.create_server(application, host="127.0.0.1", port=0, clear_untrusted_proxy_headers=False)
    until_standard_input_ends(lambda: os._exit(0))
    say(int(server.effective_port))
    server.run()


def gunicorn():
    # Needed for applications from eggs only, and not part of every Python.
    sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")
    from gunicorn.app.base import BaseApplication

    def ready(arbiter):
        until_standard_input_ends(lambda: os.kill(arbiter.pid, signal.SIGINT))
        say(arbiter.LISTENERS[0].sock.getsockname()[1])

    class Probe(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", "127.0.0.1:0")
            self.cfg.set("loglevel", "critical")
            self.cfg.set("when_ready", ready)

        def load(self):
            return application

    Probe().run()


def wsgiref():
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    until_standard_input_ends(lambda: os._exit(0))
    say(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    {"waitress": waitress, "gunicorn": gunicorn, "wsgiref": wsgiref}[sys.argv[1]]()
