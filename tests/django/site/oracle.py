"""oracle.py cookies [NAME] | paths: how this release reads a cookie header or a request target.

A real request is parsed by waitress and by Django's request class, so that the answers hold for
the whole way from the wire: nothing is decoded here that a server would decode.
"""
import base64
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["DJANGO_SETTINGS_MODULE"] = "rig.settings"
# Nothing is stored, but the settings want to know where.
os.environ["FLOODWALL_SITE"] = json.dumps({"data": tempfile.gettempdir()})

import rig
import django
from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

if django.VERSION >= (1, 7):
    django.setup()

import reading
from django.core.handlers.wsgi import WSGIRequest


class Refused(Exception):
    """The server answers by itself, and Django never hears of the request."""


class Server(object):
    """As much of waitress's server and channel as an environment needs."""

    adj = Adjustments(listen="127.0.0.1:0", clear_untrusted_proxy_headers=False)
    effective_host, effective_port, server_name = "127.0.0.1", 80, "localhost"
    addr = ("127.0.0.1", 1)
    check_client_disconnected = None

    @property
    def server(self):
        return self


def request(target, headers=b""):
    parser = HTTPRequestParser(Server.adj)
    wire = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n"
    try:
        consumed = parser.received(wire)
    except Exception:
        # Here waitress would close the connection.
        raise Refused()
    # What is left over would have been a second request: a smuggled line, no single target.
    if parser.error or not parser.completed or consumed != len(wire):
        raise Refused()
    return WSGIRequest(WSGITask(Server(), parser).get_environment())


def cookies(value, name="sessionid"):
    seen = reading.session(request(b"/", b"Cookie: " + value + b"\r\n"), name)
    return "-" if seen is None else base64.b64encode(seen).decode("ascii")


def paths(target):
    return reading.view(request(target))


def main():
    # A fault of this file must not pass for Django's: here it is raised.
    assert paths(b"/") == "index" and cookies(b"sessionid=x") == "eA=="
    read = {"cookies": cookies, "paths": paths}[sys.argv[1]]
    for line in iter(sys.stdin.readline, ""):
        raw = base64.b64decode(line.strip())
        try:
            answer = read(raw, *sys.argv[2:])
        except Refused:
            answer = "~"
        except Exception:
            answer = "!"
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
