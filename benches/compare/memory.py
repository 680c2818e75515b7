"""Memory: resident, what processes share counted once.

Figures: `idle`, MiB after a start and one request; `connection`, bytes for each of many idle
connections, the kernel's not among them; `client`, bytes for each of many clients that were charged
for a session (with Floodwall that session is in it); `session`, bytes for each of many sessions of one
client, where a contestant knows sessions.
"""

import contextlib
import dataclasses
import json
import resource
import subprocess

import common
from contestants import Setting
from targets import Column, Target

# Large enough that no client is refused by what all may do together.
SITE = '{ rate = "1000/s", burst = 4000000 }'


@dataclasses.dataclass(frozen=True)
class Memory:
    name: str
    title: str
    targets = [
        Target("idle", None, 12),
        Target("connection", None, 14 * 1024, 10 * 1024),
        Target("client", None, 64),
    ]
    metric = "idle"
    columns = [
        Column("idle", "idle, MiB", "{:.1f}"),
        Column("connection", "B a connection", "{:,.0f}"),
        Column("connections", "of", "{:,.0f}"),
        Column("client", "B a client", "{:.0f}"),
        Column("session", "B a session", "{:.0f}"),
    ]
    capacity = None
    # What is measured here does not change with the machine's other work.
    rounds = 1
    fresh = True

    def takes(self, contestant):
        return contestant.template is not None

    def setting(self, upstream):
        return Setting(upstream)

    def warm(self, bench, running, upstream):
        ask(bench, running, 1, connections=1)

    def round(self, bench, running, upstream):
        found = {"idle": resident(running) / (1 << 20), "unexpected": {}}
        who = running.contestant
        many = min(bench.scaled(10_000), fitting())
        with who.started(Setting(upstream.port, connections=many + 100), bench.core) as one:
            before = resident(one)
            with held(bench, one, many):
                found["connections"] = many
                found["connection"] = (resident(one) - before) / many
        if who.protects:
            many = bench.scaled(1_000_000)
            setting = Setting(upstream.port, clients=many, forwarded=True, more=budget(client=False))
            with who.started(setting, bench.core) as one:
                found["client"] = grown(bench, one, many, ["--forwarded", many])
        if who.ours:
            many = bench.scaled(2_000_000)
            with who.started(Setting(upstream.port, more=budget(client=True)), bench.core) as one:
                found["session"] = grown(bench, one, many)
                found["client"] -= found["session"]
        return found


def fitting():
    """How many connections fit into a process: Floodwall keeps three descriptors for each."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // 3


def budget(client):
    text = f"[budget.anonymous]\nsite = {SITE}\n"
    return text + f"client = {SITE}\n" if client else text


def resident(running):
    return common.resident_bytes(running.pids())


def grown(bench, running, many, more=()):
    """Bytes for each of so many sessions, or clients with one each."""
    before = resident(running)
    ask(bench, running, many, ["--path", "/cart/", *more])
    return (resident(running) - before) / many


@contextlib.contextmanager
def held(bench, running, connections):
    arguments = ["--connections", connections, "--seconds", common.PATIENCE]
    with bench.load.started(running.port, arguments, "hold", stdin=subprocess.PIPE) as process:
        said = process.stdout.readline()
        if not said:
            raise SystemExit(f"not all of {connections} connections could be opened")
        yield
        process.stdin.close()
        still = json.loads(process.stdout.readline())["still_open"]
        if still != connections:
            raise SystemExit(f"only {still} of {connections} connections stayed open")


def ask(bench, running, requests, more=("--path", "/small"), connections=32):
    arguments = [*more, "--connections", connections, "--requests", requests]
    said = bench.load.driven(running.port, arguments)
    if said["by_status"] != {"200": requests}:
        raise SystemExit(f"{running.name}: not all of {requests} were served: {said}")
