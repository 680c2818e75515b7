"""How this release reads a request: what its own parsers make of cookies and path.

To be imported after `rig` and Django's set-up.
"""
from django.core.urlresolvers import Resolver404, resolve


def session(request, name="sessionid"):
    """The bytes of the cookie; None where there is no such cookie."""
    seen = request.COOKIES.get(name)
    if seen is None or isinstance(seen, bytes):
        return seen
    # A surrogate has no UTF-8, but a comparison has to see that something is there.
    return seen.encode("utf-8", "backslashreplace")


def view(request):
    """The view's name in rig/urls.py (`logout`, `admin:logout`, ...), or `none`."""
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return "none"
    return ":".join(list(match.namespaces) + [match.url_name or "unnamed"])
