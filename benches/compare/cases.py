"""What is compared: each case asks all contestants for the same, and says what is to be reached.

A case's figures are those of load.py, and more where it says so.
"""

import dataclasses

from contestants import Setting
from floods import Flood
from memory import Memory
from targets import Column, Target

# Connections of a steady case, and how many addresses they come from: of one client alone no site
# has so many.
MANY = ["--connections", 32, "--addresses", 16]
BIG = 100 << 20
COLUMNS = (
    Column("rate", "requests/s", "{:,.0f}"),
    Column("cpu_us", "CPU µs", "{:,.2f}"),
    Column("kernel", "of it kernel", "{:.0%}"),
    Column("p50", "p50 µs", "{:,.0f}"),
    Column("p99", "p99 µs", "{:,.0f}"),
)
PAGES = [
    Target("cpu_us", "haproxy", 0.95, 0.82),
    Target("cpu_us", "nginx", 1.0, 0.88),
]
REFUSED = [
    Target("cpu_us", "haproxy", 0.78, 0.70),
    Target("cpu_us", "nginx", 0.98, 0.88),
]
BOTH = [Target("cpu_us", "haproxy", 1.0), Target("cpu_us", "nginx", 1.0)]


@dataclasses.dataclass(frozen=True)
class Drive:
    """The same load at everybody, who all stay up for all rounds."""

    name: str
    title: str
    arguments: list
    expected: tuple = ("200",)
    targets: list = dataclasses.field(default_factory=list)
    tls: bool = False
    # Only contestants that protect a site can be asked for this.
    refuses: bool = False
    # One latency is what is of interest, at a rate that all carry.
    metric: str = "cpu_us"
    columns: tuple = COLUMNS
    fresh = False
    capacity = None
    rounds = None

    def takes(self, contestant):
        return (contestant.tls or not self.tls) and (contestant.protects or not self.refuses)

    def setting(self, upstream):
        if self.refuses:
            # What one of a flood costs is seen where all of it is answered as fast as can be.
            return Setting(upstream, pause="0s", more="[recycle]\nspacing = 0\n")
        return Setting(upstream)

    def warm(self, bench, running, upstream):
        self.round(bench, running, upstream, bench.warm_up)

    def round(self, bench, running, upstream, seconds=None):
        arguments = [*self.arguments, "--seconds", seconds or bench.seconds]
        return bench.load.measured(running, upstream, arguments, self.expected)


@dataclasses.dataclass(frozen=True)
class Download(Drive):
    """So large that those count which are half done: figures are those of bytes."""

    columns: tuple = (Column("gigabytes", "GB/CPU s", "{:.2f}"), *COLUMNS[:3])
    least = 0.5

    def round(self, bench, running, upstream, seconds=None):
        seconds = max(seconds or bench.seconds, self.least)
        found = super().round(bench, running, upstream, seconds)
        found["rate"] = found["bytes"] / BIG / found["seconds"]
        if found["cpu_us"] is not None:
            found["cpu_us"] = found["proxy"] * found["seconds"] / found["bytes"] * BIG * 1e6
            found["gigabytes"] = BIG / found["cpu_us"] / 1e3
        return found


@dataclasses.dataclass(frozen=True)
class Http2(Drive):
    def round(self, bench, running, upstream, seconds=None):
        seconds = seconds or bench.seconds
        return bench.load.measured_http2(running, upstream, *self.arguments, seconds)


def flooding(path, *more):
    arguments = ["--path", path, "--headers", "few", "--cookie", "none"]
    return [*arguments, "--connections", 32, "--addresses", 5, *more]


def small(*more):
    return ["--path", "/small", "--headers", "few", "--cookie", "none", *more]


def page(cookie):
    return ["--path", "/page", "--headers", "browser", "--cookie", cookie, *MANY]


EACH_TLS = small(*MANY, "--tls", "--new-connections")
CASES = [
    Drive("small", "1 KiB page, few headers, anonymous", small(*MANY), targets=PAGES),
    Drive("page", "10 KiB page, browser's headers, anonymous", page("none"), targets=PAGES),
    Drive("page-known", "10 KiB page, browser's headers, session", page("known"), targets=PAGES),
    Drive(
        "upload",
        "POST of 16 KiB",
        ["--path", "/upload", "--method", "POST", "--body", 16384, *MANY],
        targets=[Target("cpu_us", "haproxy", 0.95, 0.82), Target("cpu_us", "nginx", 0.95, 0.82)],
    ),
    Drive("new", "1 KiB page, a connection each", small(*MANY, "--new-connections"), targets=BOTH),
    Download(
        "big",
        "download of 100 MiB",
        ["--path", "/big", "--connections", 4, "--addresses", 4],
        targets=[Target("cpu_us", "haproxy", 0.6), Target("cpu_us", "nginx", 1.0)],
    ),
    Drive("tls", "1 KiB page, TLS connections kept", small(*MANY, "--tls"), tls=True),
    Drive("tls-new", "1 KiB page, a TLS connection each, new", EACH_TLS, tls=True),
    Drive(
        "tls-resumed",
        "1 KiB page, a TLS connection each, resumed",
        [*EACH_TLS, "--resume"],
        columns=(*COLUMNS, Column("resumed", "resumed", "{:.0%}")),
        tls=True,
    ),
    Http2("http2", "1 KiB page, HTTP/2, 8 connections of 8 streams", ["/small", 8, 8], tls=True),
    Drive(
        "refused",
        "refused flood, connections kept",
        flooding("/cart/"),
        expected=("200", "429"),
        targets=REFUSED,
        refuses=True,
    ),
    Drive(
        "refused-new",
        "refused flood, a connection each",
        flooding("/cart/", "--new-connections"),
        expected=("200", "429"),
        targets=BOTH,
        refuses=True,
    ),
    Drive(
        "logout",
        "flood of anonymous logouts",
        flooding("/logout/"),
        expected=("200", "302", "429"),
        refuses=True,
    ),
    Flood("flood", "goodput, flood without cookies", "none"),
    Flood("flood-invented", "goodput, flood with invented sessions", "invented"),
    Drive(
        "rate",
        "1 KiB page at a fixed 30,000/s",
        small(*MANY, "--rate", 30_000),
        targets=[Target("p99", "haproxy", 1.2, 1.0)],
        metric="p99",
    ),
    Memory("memory", "memory"),
]
