"""Who is compared: how each is configured, started on its core, and asked for its version.

Their settings are the templates in peers/; what stands between two @ is filled in here.
"""

import contextlib
import dataclasses
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import common

PEERS = Path(__file__).resolve().parent / "peers"
# A node of nginx's tree for an IPv4 address takes 128 bytes of its zone, and the zone is not full.
ZONE_BYTES = 192


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a case wants of everybody alike."""

    upstream: int
    connections: int = 4096
    pool: int = 256
    clients: int = 100_000
    # Whether X-Forwarded-For of the load generator names the client.
    forwarded: bool = False
    # For Floodwall alone: its `refusal_pause`, by default what it is by default, and more lines.
    pause: str = "100ms"
    more: str = ""


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    # None: nothing stands in between.
    template: str | None
    # Given the folder, the file and the port.
    command: Callable[[Path, Path, int], list] | None
    version: Callable[[], str] | None
    tls: bool = True
    protects: bool = True
    ours: bool = False
    # Lines for its configuration, beside those of the case.
    more: str = ""

    @contextlib.contextmanager
    def started(self, setting, core):
        if self.template is None:
            yield Running(self, setting.upstream, None, None)
            return
        with tempfile.TemporaryDirectory(prefix="compare-") as name:
            folder = Path(name)
            port, tls = common.free_port(), common.free_port()
            certificate(folder)
            values = values_of(setting, folder, port, tls)
            values["more"] += self.more
            text = (PEERS / self.template).read_text()
            file = folder / self.template
            file.write_text(re.sub(r"@(\w+)@", lambda name: str(values[name[1]]), text))
            arguments = ["taskset", "-c", str(core), *self.command(folder, file, port)]
            with open(folder / "log", "wb") as log:
                options = {"stdout": log, "stderr": log, "cwd": folder}
                options["env"] = os.environ | {"GOMAXPROCS": "1", "HOME": name, "XDG_DATA_HOME": name}
                with common.running(arguments, **options) as process:
                    try:
                        common.await_port(port, process)
                    except SystemExit:
                        print((folder / "log").read_text(errors="replace"))
                        raise
                    yield Running(self, port, tls if self.tls else None, process)


@dataclasses.dataclass(frozen=True)
class Running:
    contestant: Contestant
    port: int
    tls: int | None
    process: subprocess.Popen | None

    @property
    def name(self):
        return self.contestant.name

    def pids(self):
        return common.family(self.process.pid) if self.process else []


def values_of(setting, folder, port, tls):
    clients = setting.clients
    return {
        "folder": folder,
        "port": port,
        "tls": tls,
        "upstream": setting.upstream,
        "connections": setting.connections,
        # One to the client, one to the application.
        "both": 2 * setting.connections + setting.pool,
        "pool": setting.pool,
        "clients": clients,
        "zone": f"{max(1, clients * ZONE_BYTES >> 20)}m",
        "client": "hdr_ip(X-Forwarded-For,-1)" if setting.forwarded else "src",
        "real": "set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;"
        if setting.forwarded
        else "",
        "trusted": '"127.0.0.0/8"' if setting.forwarded else "",
        "pause": setting.pause,
        "more": setting.more,
    }


def certificate(folder):
    """A key on P-256, as most sites have today."""
    key, chain = folder / "key.pem", folder / "certificate.pem"
    arguments = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    arguments += ["-nodes", "-keyout", key, "-out", chain, "-days", "90", "-subj", "/CN=localhost"]
    arguments += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(arguments, check=True, capture_output=True)
    (folder / "both.pem").write_text(chain.read_text() + key.read_text())


def said(program, option):
    """Asks for the version."""

    def version():
        command = [common.installed(program), option]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return re.search(r"\d+\.\d+[.\d]*", done.stdout + done.stderr)[0]

    return version


def floodwall(name, binary, more=""):
    def command(folder, file, port):
        return [binary, "run", "--config", file]

    version = said(binary, "--version")
    return Contestant(name, "floodwall.toml", command, version, ours=True, more=more)


def peers():
    """All that a name on the command line can mean beside the builds of our own."""
    return [
        Contestant("haproxy", "haproxy.cfg", haproxy, said("haproxy", "-v")),
        Contestant("nginx", "nginx.conf", nginx, said("nginx", "-v")),
        plain("varnish", "varnish.vcl", varnish, said("varnishd", "-V"), tls=False),
        plain("caddy", "Caddyfile", caddy, said("caddy", "version")),
        plain("haproxy-tcp", "haproxy-tcp.cfg", haproxy, said("haproxy", "-v"), tls=False),
        plain("direct", None, None, None, tls=False),
    ]


def plain(*what, tls=True):
    return Contestant(*what, tls=tls, protects=False)


def haproxy(folder, file, port):
    return [common.installed("haproxy"), "-db", "-q", "-f", file]


def nginx(folder, file, port):
    return [common.installed("nginx"), "-e", "stderr", "-p", folder, "-c", file]


def caddy(folder, file, port):
    return [common.installed("caddy"), "run", "--adapter", "caddyfile", "--config", file]


def varnish(folder, file, port):
    arguments = [common.installed("varnishd"), "-F", "-j", "none", "-n", folder / "varnish"]
    arguments += ["-f", file, "-a", f"127.0.0.1:{port}", "-s", "malloc,16m", "-S", "none"]
    # Its log in shared memory is what an access log is to others: without the most of it.
    quiet = "VCL_call,VCL_return,ReqHeader,BereqHeader,RespHeader,BerespHeader".split(",")
    for setting in (
        "thread_pools=1",
        "thread_pool_min=100",
        "timeout_idle=600",
        "http_max_hdr=128",
        "vsl_mask=-" + ",-".join(quiet),
    ):
        arguments += ["-p", setting]
    return arguments
