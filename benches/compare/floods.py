"""Goodput under a flood: an upstream of limited capacity, honest users at a fixed rate, and 256
connections from five addresses that ask for `/logout/` as fast as they are answered.

Figures: `honest`, the share of honest requests that succeeded under the flood; `p99_quiet`, `p99`,
the slowest honest hundredth without and with the flood, in the same run, microseconds; `ratio` of the
two; `flood_rate`; `records` that the flood added to the upstream's store; `allowed` by the budget of
those five addresses in that time; `over`, records beyond that.
"""

import contextlib
import dataclasses
import time

from contestants import Setting
from load import told
from targets import Column, Target

CAPACITY = 2_000
HONEST = 100  # a second, with a session; and as many without
FLOODERS = 5
KNOWN = 8  # connections of either kind of honest users
LONGER = 3  # than other cases: at so few requests a second there must be enough for a p99
# Floodwall's default for logouts, and the peers' settings: at once, and then each second.
BURST, RATE = 60, 0.5


@dataclasses.dataclass(frozen=True)
class Flood:
    name: str
    title: str
    cookie: str
    targets = [
        Target("over", None, 0),
        Target("failed", None, 0),
        Target("ratio", None, 1.2),
    ]
    metric = "p99"
    columns = [
        Column("honest", "honest", "{:.1%}"),
        Column("p99_quiet", "p99 quiet", "{:,.0f}"),
        Column("p99", "p99 flood", "{:,.0f}"),
        Column("ratio", "ratio", "{:.2f}"),
        Column("records", "records", "{:,.0f}"),
        Column("allowed", "allowed", "{:,.0f}"),
        Column("flood_rate", "flood/s", "{:,.0f}"),
    ]
    rounds = None
    # What a flood leaves behind is not to help against the next one.
    fresh = True
    capacity = CAPACITY

    def takes(self, contestant):
        return contestant.template is not None

    def setting(self, upstream):
        return Setting(upstream)

    def warm(self, bench, running, upstream):
        honest(bench, running, bench.warm_up)

    def round(self, bench, running, upstream):
        seconds = LONGER * bench.seconds
        quiet = honest(bench, running, seconds)
        records, began = upstream.records(), time.monotonic()
        # It begins before the honest users do, and ends after them.
        arguments = ["--path", "/logout/", "--headers", "few", "--cookie", self.cookie]
        arguments += ["--connections", 256, "--addresses", FLOODERS, "--seconds", seconds + 1]
        with bench.load.started(running.port, arguments) as flood:
            time.sleep(0.5)
            under = honest(bench, running, seconds)
            flooded = told(flood)
        lasted = time.monotonic() - began
        # Each honest connection that has a session has logged in once.
        added = upstream.records() - records - under["logins"]
        allowed = FLOODERS * (BURST + RATE * lasted)
        return {
            "rate": under["good"] / seconds,
            "honest": under["good"] / max(under["asked"], 1),
            "failed": under["asked"] - under["good"],
            "p50": under["p50"],
            "p99": under["p99"],
            "p99_quiet": quiet["p99"],
            "ratio": under["p99"] / quiet["p99"],
            "flood_rate": flooded["requests"] / flooded["seconds"],
            "records": added,
            "allowed": round(allowed),
            "over": max(0, round(added - allowed)),
            "status": flooded["by_status"],
            "unexpected": flooded["errors"],
        }


def honest(bench, running, seconds):
    """Both kinds of honest users together; the worse of their percentiles."""
    common = ["--path", "/page", "--headers", "browser", "--rate", HONEST, "--seconds", seconds]
    known = [*common, "--cookie", "known", "--connections", KNOWN]
    anonymous = [*common, "--cookie", "none", "--connections", KNOWN]
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(bench.load.started(running.port, arguments))
            for arguments in (known, anonymous)
        ]
        answers = [told(process) for process in both]
    return {
        "asked": sum(
            answer["requests"] + answer["unfinished"] + sum(answer["errors"].values())
            for answer in answers
        ),
        "good": sum(answer["by_status"].get("200", 0) for answer in answers),
        "p50": max(answer["p50"] for answer in answers),
        "p99": max(answer["p99"] for answer in answers),
        "logins": KNOWN,
    }



