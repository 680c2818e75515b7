"""Puts back what newer Pythons removed and Django 1.7 and 1.8 (2014, 2015) still use.

It is imported before Django, so that Django itself stays as it was published. Each piece is put
back only where it is missing. Tried with 1.7.8 and 1.8.3, migrations, logins and the numbers of `measure`
included: Python 3.8.18, 3.9.18, 3.10.13, 3.11.7, 3.12.1 and 3.13.0.
"""
import collections
import collections.abc
import gettext
import html.parser
import importlib.util
import inspect
import sys
import types

# Python 3.10 removed the abstract base classes from `collections`.
for name in collections.abc.__all__:
    if not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))

# Python 3.5 removed it; Django 1.7's HTML parser names it in an `except`.
if not hasattr(html.parser, "HTMLParseError"):
    html.parser.HTMLParseError = type("HTMLParseError", (Exception,), {})

# Python 3.11 removed it. The receivers and template tags that Django inspects include some with
# keyword-only arguments, which the old function refused and Django never needs.
if not hasattr(inspect, "getargspec"):
    ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
    inspect.getargspec = lambda function: ArgSpec(*inspect.getfullargspec(function)[:4])

# Python 3.11 removed `codeset` and the output character set; Django only ever asks for UTF-8,
# which is all that is left.
if sys.version_info >= (3, 11):
    translation = gettext.translation

    def translation_with_codeset(*args, codeset=None, **kwargs):
        return translation(*args, **kwargs)

    gettext.translation = translation_with_codeset
    gettext.NullTranslations.set_output_charset = lambda self, charset: None


# Python 3.12 removed `find_module` from the import system. Django 1.7 asks every finder for it
# to learn whether an application has a submodule.
def find_module(finder, fullname, path=None):
    """The loader that the finder's `find_spec` names."""
    try:
        spec = finder.find_spec(fullname, path)
    except TypeError:
        # A finder for one directory takes no path.
        spec = finder.find_spec(fullname)
    return spec and spec.loader


def give_find_module(finder):
    if hasattr(finder, "find_module"):
        return
    if isinstance(finder, type):
        # The built-in finders are classes used without an instance.
        finder.find_module = classmethod(find_module)
    else:
        type(finder).find_module = find_module


for finder in list(sys.meta_path) + [f for f in sys.path_importer_cache.values() if f]:
    give_find_module(finder)


# The other way round: the `six` inside Django has a finder without `find_spec`, which Python 3.12
# no longer asks. This one asks it.
class OldFinders(object):
    @staticmethod
    def find_spec(fullname, path=None, target=None):
        for finder in sys.meta_path:
            if not hasattr(finder, "find_spec"):
                loader = finder.find_module(fullname, path)
                if loader is not None:
                    return importlib.util.spec_from_loader(fullname, loader)
        return None

    find_module = staticmethod(lambda fullname, path=None: None)


if sys.version_info >= (3, 12):
    sys.meta_path.append(OldFinders)


def module(name, **members):
    """Puts a module with these members where Python no longer has one of that name."""
    try:
        found = importlib.util.find_spec(name)
    except ValueError:
        found = True
    if not found:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)


def refuse_to_find(name, path=None):
    raise ImportError(name)


def parse_header(line):
    """`cgi.parse_header`: the value before the first semicolon, and the parameters."""
    import email.message

    message = email.message.Message()
    message["content-type"] = line
    value, parameters = line.split(";")[0].strip(), message.get_params() or []
    return value, dict(parameters[1:])


def valid_boundary(boundary):
    import re

    pattern = b"^[ -~]{0,200}[!-~]$" if isinstance(boundary, bytes) else "^[ -~]{0,200}[!-~]$"
    return re.match(pattern, boundary)


# Python 3.12 removed `imp`, and 3.13 `cgi`.
module("imp", find_module=refuse_to_find)
module("cgi", parse_header=parse_header, valid_boundary=valid_boundary, escape=html.escape)
