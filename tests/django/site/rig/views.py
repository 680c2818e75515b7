"""The site's own views, each named after what it does to the session."""
import hashlib
import json
import random
import time

import django.http
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.views import logout as stock_logout
from django.http import HttpResponse, HttpResponseForbidden
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST


def index(request):
    """Never touches the session."""
    return HttpResponse("floodwall rig\n")


def read(request):
    """Reads the session twice: for the cart and for the user."""
    cart = request.session.get("cart")
    return HttpResponse("cart=%s user=%s\n" % (json.dumps(cart), request.user.username or "anonymous"))


def write(request):
    """Writes to the session, for anybody: a growth that no patch covers."""
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse("count=%d\n" % request.session["count"])


def adopt(request):
    """`clear()` never loads, so that an invented key becomes the record's key."""
    request.session.clear()
    return HttpResponse("cleared\n")


def error(request):
    """Fails without having touched the session."""
    raise RuntimeError("asked for")


def read_error(request):
    """Fails after it has read the session: what loading it wrote stays, and no cookie tells."""
    read(request)
    raise RuntimeError("asked for")


def messages_show(request):
    """Shows the waiting messages, and so uses them up."""
    return HttpResponse("messages=%s\n" % json.dumps([str(m) for m in messages.get_messages(request)]))


def messages_add(request):
    """Adds a message of `?bytes=`; beyond 2 KB the fallback storage keeps it in the session."""
    messages.info(request, "m" * number(request, "bytes", 16, 100 * 1000))
    return HttpResponse("added\n")


def messages_logout(request):
    """Logs out, then leaves a message (of `?bytes=`) for the next page."""
    logout(request)
    return messages_add(request)


def cart_logout(request):
    """Is no logout at all: a shopping cart at an unlucky path."""
    cart = request.session.get("cart", [])
    request.session["cart"] = cart + ["item%06d" % random.randrange(10 ** 6)]
    return HttpResponse("cart=%s\n" % json.dumps(request.session["cart"]))


def confirm_logout(request):
    """GET asks, without touching the session; POST logs out."""
    if request.method == "POST":
        return stock_logout(request)
    return render(request, "confirm.html")


@require_POST
def get405_logout(request):
    return stock_logout(request)


def loginout_logout(request):
    """GET logs out and shows a login form; POST with `username` and `password` logs in."""
    if request.method != "POST":
        logout(request)
        return render(request, "confirm.html")
    user = authenticate(username=request.POST.get("username"), password=request.POST.get("password"))
    if user is None:
        return HttpResponseForbidden("wrong password\n")
    login(request, user)
    return HttpResponse("user=%s\n" % user.username)


def error_logout(request):
    """Has written to the store by the time it fails; Django then sends no cookie (but 1.4 does)."""
    logout(request)
    raise RuntimeError("asked for")


def turning_logout(request):
    """Logs out, and tells the session keys before and after; with a cookie `turn` it writes."""
    before = request.session.session_key
    if "turn" in request.COOKIES:
        request.session["turned"] = True
    else:
        logout(request)
    return HttpResponse("before=%s after=%s\n" % (before, request.session.session_key))


def deleting_logout(request):
    """Logs out, and deletes the cookie itself, which the middleware then sets all the same."""
    logout(request)
    response = HttpResponse("deleted\n")
    response.delete_cookie("sessionid")
    return response


def slow(request):
    sleep(request)
    return read(request)


def slow_logout(request):
    sleep(request)
    return stock_logout(request)


def big(request):
    """Streams `?bytes=`, without a Content-Length."""
    left = number(request, "bytes", 1 << 20, 1 << 32)

    def chunks():
        for start in range(0, left, 1 << 16):
            yield b"x" * min(1 << 16, left - start)

    # Django 1.4 streams any iterator; 1.5 gave that a class of its own.
    response = getattr(django.http, "StreamingHttpResponse", HttpResponse)
    return response(chunks(), content_type="application/octet-stream")


@csrf_exempt
def echo(request):
    """Tells what arrived: the values are Latin-1 readings of the bytes, as WSGI has them."""
    body = request.body
    answer = {
        "method": request.method,
        "path_info": request.path_info,
        "meta": dict((k, text(v)) for k, v in request.META.items() if isinstance(v, (str, bytes, type(u"")))),
        "cookies": dict((text(k), text(v)) for k, v in request.COOKIES.items()),
        "body_length": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    return HttpResponse(json.dumps(answer, sort_keys=True) + "\n", content_type="application/json")


def text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


def number(request, name, default, most):
    try:
        return max(0, min(int(request.GET.get(name, default)), most))
    except ValueError:
        return default


def sleep(request):
    """Waits `?ms=`, at most five seconds."""
    time.sleep(number(request, "ms", 100, 5000) / 1000.0)
