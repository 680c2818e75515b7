"""The fixed upstream and the load generator: both are `load`, the crate beside this, on one core.

Also h2load, for HTTP/2. The figures of one measurement:

    rate         requests a second
    cpu_us       user and system time of all of the proxy's processes, microseconds per request
    kernel       the share of that which is system time, of the whole run
    p50, p99     microseconds, as the generator sees them
    proxy        the share of its core that the proxy used; generator, upstream: of the other core
    limit        who had nothing left to give, which is what limits the rate
    resumed      the share of TLS handshakes that resumed a session
    late         requests that were sent more than a millisecond after they were due
    status       answers by status; unexpected: those that the case does not want, and errors
"""

import collections
import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import common

CRATE = Path(__file__).resolve().parent / "load"
# A share of its core beyond which who has it is what limits the rate.
FULL = 0.95

def built(named=None):
    if named:
        return Path(named).resolve()
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=CRATE, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", CRATE / "target")) / "release/load"


@dataclasses.dataclass(frozen=True)
class Upstream:
    port: int
    process: subprocess.Popen

    def asked(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return answer.read()

    def records(self):
        """How many sessions are in its store."""
        return json.loads(self.asked("/-/counts"))["records"]


@dataclasses.dataclass(frozen=True)
class Load:
    binary: Path
    core: int

    @contextlib.contextmanager
    def upstream(self, capacity=None):
        arguments = [self.binary, "upstream", "--listen", "127.0.0.1:0", "--core", self.core]
        if capacity:
            arguments += ["--capacity", capacity]
        with common.running([*map(str, arguments)], stdout=subprocess.PIPE, text=True) as process:
            # It says where it listens.
            yield Upstream(int(process.stdout.readline().rpartition(":")[2]), process)

    def started(self, port, arguments, subcommand="drive", **options):
        command = [self.binary, subcommand, "--target", f"127.0.0.1:{port}", "--core", self.core]
        command = [str(word) for word in [*command, *arguments]]
        return common.running(command, stdout=subprocess.PIPE, text=True, **options)

    def driven(self, port, arguments):
        """What the generator says of one run, in its own words."""
        with self.started(port, arguments) as process:
            return told(process)

    def measured(self, running, upstream, arguments, expected):
        """The figures of one run; logins, and what comes before or after, are not in them."""
        port = running.tls if "--tls" in arguments else running.port
        proxies, servers = running.pids(), common.family(upstream.process.pid)
        watched = ["--watch", ",".join(map(str, proxies + servers))]
        before = common.ticks(proxies)
        said = self.driven(port, [*arguments, *watched])
        user, system = (late - early for early, late in zip(before, common.ticks(proxies)))
        taken = said["watched_cpu_seconds"]
        used = {
            "proxy": sum(taken[str(pid)] for pid in proxies),
            "upstream": sum(taken[str(pid)] for pid in servers),
        }
        found = figures(running, said, used, expected)
        return {**found, "kernel": system / (user + system) if user + system else None}

    def measured_http2(self, running, upstream, path, connections, streams, seconds):
        """The same over HTTP/2 and TLS, by h2load."""
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            log = Path(folder) / "log"
            command = ["taskset", "-c", str(self.core), common.installed("h2load")]
            command += [f"-c{connections}", f"-m{streams}", f"-D{round(seconds * 1000)}ms"]
            command += [f"--log-file={log}", f"https://127.0.0.1:{running.tls}{path}"]
            proxies, servers = running.pids(), common.family(upstream.process.pid)
            before = common.cpu_seconds(proxies), common.cpu_seconds(servers), children()
            with common.running(command, stdout=subprocess.PIPE, text=True) as process:
                output = process.communicate()[0]
            after = common.cpu_seconds(proxies), common.cpu_seconds(servers), children()
            answers = [line.split("\t") for line in log.read_text().splitlines()]
        if process.returncode or not answers:
            raise SystemExit(f"{command} has ended: {process.returncode}\n{output}")
        times = sorted(int(microseconds) for _, _, microseconds in answers)
        proxy, server, own = (late - early for early, late in zip(before, after))
        said = {
            "requests": len(answers),
            "by_status": collections.Counter(status for _, status, _ in answers),
            "errors": {},
            "seconds": seconds,
            "p50": times[len(times) // 2],
            "p99": times[len(times) * 99 // 100],
            "own_cpu_seconds": own,
        }
        return figures(running, said, {"proxy": proxy, "upstream": server}, ["200"])


def told(process):
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{process.args} has ended: {process.returncode}\n{output}")
    return json.loads(output.splitlines()[-1])


def children():
    """CPU time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures(running, said, used, expected):
    seconds, requests = said["seconds"], said["requests"]
    shares = {name: taken / seconds for name, taken in used.items()}
    shares["generator"] = said["own_cpu_seconds"] / seconds
    unexpected = {name: count for name, count in said["errors"].items() if count}
    for status, count in said["by_status"].items():
        if count and status not in expected:
            unexpected[status] = count
    return {
        "requests": requests,
        "bytes": said.get("bytes"),
        "seconds": seconds,
        "rate": requests / seconds,
        "cpu_us": used["proxy"] / max(requests, 1) * 1e6 if running.process else None,
        "p50": said["p50"],
        "p99": said["p99"],
        "status": dict(said["by_status"]),
        "unexpected": unexpected,
        "late": said.get("late", 0),
        "resumed": said["resumed"] / said["handshakes"] if said.get("handshakes") else None,
        "limit": limit(shares),
        **shares,
    }


def limit(shares):
    if shares["proxy"] > FULL:
        return "proxy"
    if shares["generator"] + shares["upstream"] > FULL:
        return "generator" if shares["generator"] > shares["upstream"] else "upstream"
    return "nobody"
