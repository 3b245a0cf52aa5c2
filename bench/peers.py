"""The programs that have always done this: xinetd and openbsd-inetd, and the broker mosquitto, as Debian ships them.

Installed, they would start services, and two of them exclude each other. So what is not there is never installed: it is
fetched into build/peers, unpacked there and run in the foreground on a loopback port with a configuration made for the
run. Libraries that the machine lacks are fetched the same way.
"""

import getpass
import os
import socket
import subprocess
from pathlib import Path

from harness import ROOT, Failed, Foreign

PEERS = ROOT / "build" / "peers"
UNPACKED = PEERS / "root"

# NOLIBWRAP: else each connection would also read /etc/hosts.allow and .deny, which Guichet does not do.
XINETD_CONF = """\
defaults
{{
	instances = UNLIMITED
	per_source = UNLIMITED
	cps = 1000000 1
}}
service echo
{{
	type = INTERNAL UNLISTED
	id = bench-echo
	socket_type = stream
	protocol = tcp
	port = {port}
	bind = 127.0.0.1
	wait = no
	user = {user}
	flags = NOLIBWRAP
	disable = no
}}
"""

# The number after nowait is how many a minute it may start (256 unless said); past it the service stops for ten minutes.
INETD_CONF = "127.0.0.1:{port} stream tcp nowait.100000000 {user} /bin/cat cat\n"

# Nothing on disk and no log; TCP_NODELAY, without which it is slower when it has little to say. The rest is as Debian
# ships it.
# Else it loses messages of a client that has more than 20 underway.
MOSQUITTO_CONF = """\
max_inflight_messages 100
listener {port} 127.0.0.1
allow_anonymous true
persistence {persistence}
persistence_location {folder}/
log_type none
set_tcp_nodelay true
"""


def _run(*argv):
    done = subprocess.run(argv, cwd=PEERS, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Failed(f"{argv[0]} {argv[-1]}: {said[-1] if said else done.returncode}")
    return done.stdout


def _fetch(package):
    """Downloads one package, unless it is there, and unpacks it. Returns the .deb."""
    PEERS.mkdir(parents=True, exist_ok=True)
    if not list(PEERS.glob(f"{package}_*.deb")):
        _run("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package)
    deb = next(PEERS.glob(f"{package}_*.deb"))
    _run("dpkg-deb", "-x", deb.name, "root")
    return deb


def _library_path():
    return os.pathsep.join(str(d) for base in ("usr/lib", "lib") for d in UNPACKED.glob(f"{base}/*-linux-gnu*"))


def _environment():
    return ["env", f"LD_LIBRARY_PATH={_library_path()}"]


def _lacks_libraries(program):
    return "not found" in _run(*_environment(), "ldd", str(program))


def _fetch_libraries(deb, program, seen):
    """Fetches the lib* packages that `deb` depends on, and theirs, until the program finds all it needs."""
    depends = _run("dpkg-deb", "-f", deb.name, "Depends")
    for name in (d.split("|")[0].split("(")[0].strip() for d in depends.split(",")):
        if not name.startswith("lib") or name == "libc6" or name in seen or not _lacks_libraries(program):
            continue
        seen.add(name)
        _fetch_libraries(_fetch(name), program, seen)


def _provide(package, program):
    program = UNPACKED / program
    if not program.exists():
        deb = _fetch(package)
        _fetch_libraries(deb, program, set())
    if _lacks_libraries(program):
        raise Failed(f"{package}: a library is missing")
    return program


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _configure(folder: Path, name, text, **words):
    port = words.get("port") or free_port()
    path = folder / name
    path.write_text(text.format_map(dict(words, port=port, user=getpass.getuser(), folder=folder)))
    return port, path


def xinetd(folder, **how):
    """xinetd with its internal echo: a fork per connection, no exec."""
    program = _provide("xinetd", "usr/sbin/xinetd")
    port, conf = _configure(folder, "xinetd.conf", XINETD_CONF)
    argv = [*_environment(), program, "-dontfork", "-stayalive", "-f", conf, "-pidfile", folder / "xinetd.pid",
            "-filelog", folder / "xinetd.log"]
    return Foreign("xinetd", argv, folder, port, **how)


def inetd(folder, **how):
    """openbsd-inetd with cat: a fork and an exec per connection."""
    program = _provide("openbsd-inetd", "usr/sbin/inetd")
    port, conf = _configure(folder, "inetd.conf", INETD_CONF)
    return Foreign("inetd", [*_environment(), program, "-i", "-R", "0", conf], folder, port, **how)


def mosquitto(folder, *, port=None, persistence="false", **how):
    """mosquitto, persistence off unless asked for."""
    program = Path("/usr/sbin/mosquitto")
    argv = [program] if program.exists() else [*_environment(), _provide("mosquitto", "usr/sbin/mosquitto")]
    port, conf = _configure(folder, "mosquitto.conf", MOSQUITTO_CONF, port=port, persistence=persistence)
    return Foreign("mosquitto", [*argv, "-c", conf], folder, port, **how)
