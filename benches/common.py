"""What the benches share: ports, processes that end with what started them, CPU time and memory.

Knows nothing of what is measured. Linux only.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 60


def installed(name):
    """Where Debian's program of this name is; daemons are not on everybody's path."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        sys.exit(f"{name} is missing; remedy: tests/tools/provision")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port, process):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} has ended: {process.returncode}")
        time.sleep(0.02)
    sys.exit(f"nothing listens on {port}")


@contextlib.contextmanager
def running(arguments, **options):
    """A process in a session of its own: Ctrl-C ends it by way of this, in order."""
    process = subprocess.Popen(
        arguments, **{"stdin": subprocess.DEVNULL, "start_new_session": True} | options
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ends_as_interrupted():
    """SIGTERM ends this program as Ctrl-C does: with everything that it has started."""

    def end(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def built(floodwall=None):
    """The release build, made where there is none; or the file that was named."""
    if floodwall:
        return pathlib.Path(floodwall).resolve()
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release/floodwall"


def family(pid):
    """The process, and all below it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def cpu_seconds(pids):
    """User and system time that these have used since they began, ended threads included. It is the
    clock that clock_getcpuclockid(3) names: nanoseconds, where /proc/PID/stat has hundredths."""
    return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in pids) / 1e9


def ticks(pids):
    """User and system time of the same, in hundredths of a second: a part of the one beside the other is
    as the kernel's timer has met it."""
    # What stands in brackets may have spaces.
    stats = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) for stat in stats), sum(int(stat[12]) for stat in stats)


def resident_bytes(pids):
    """Resident memory of these together; what they share counts once."""
    private, shared = 0, 0
    for pid in pids:
        sizes = {}
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size = line.split()[:2]
            sizes[name] = int(size) * 1024
        own = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
        private += own
        shared = max(shared, sizes["Rss:"] - own)
    return private + shared


def machine():
    """What figures depend on beside the programs: CPU, cores, kernel, and TCP's congestion control, as
    BBR's timers cost CPU time on loopback, too."""
    model = next(
        line.split(":", 1)[1].strip()
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "Model", "CPU part"))
    )
    system = os.uname()
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    kernel = f"{system.sysname} {system.release} {system.machine}"
    return f"{model}, {os.cpu_count()} cores, {kernel}, TCP {congestion}"
