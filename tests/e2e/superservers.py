"""
Programs that start guichet when somebody comes: openbsd-inetd, xinetd (both unpacked by tools/unpack) and
systemd-socket-activate. Each is a context manager; `at` is where its clients come in.
"""
import itertools
import os
import pwd
import socket
import subprocess
from pathlib import Path

from daemon import PATIENCE, PROGRAM, REPORT, ROOT, Address, eventually, free_port

SBIN = ROOT / "build" / "unpacked" / "usr" / "sbin"
PASSED_ON = ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")  # or a sanitizer's report would be lost
NUMBERS = itertools.count()


def is_bound(address):
    """Has somebody a socket there? To connect would start a guichet."""
    if address.path:
        return os.path.exists(address.path)
    table = Path("/proc/net/udp" if address.datagram else "/proc/net/tcp").read_text()
    rows = [line.split() for line in table.splitlines()]
    # local address and state: a connection of somebody else may have the same number, also at its other end
    return any(row[1] == f"0100007F:{address.port:04X}" and (address.datagram or row[3] == "0A") for row in rows)


class Superserver:
    """`config` is the file of the guichets, which end when nobody has come for the time `idle`; their log is `log`. kind: tcp4 or udp4."""

    def __init__(self, folder, config, kind="tcp4", wait=False, idle="300ms"):
        self.folder, self.wait = folder, wait
        self.log = folder / "guichets.log"
        self.file = folder / f"guichet-{next(NUMBERS)}.conf"
        self.file.write_text(f"[guichet]\nlog = {self.log}\nexit_idle = {idle}\n{config}")
        self.at = self.address(kind)

    def address(self, kind):
        datagram = kind == "udp4"
        return Address.parse(f"{'udp' if datagram else 'tcp'}:127.0.0.1:"
                             f"{free_port(socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)}")

    def __enter__(self):
        self.process = subprocess.Popen(list(map(str, self.command())), cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | self.environment())
        eventually(lambda: self.process.poll() is not None or is_bound(self.at), f"{type(self).__name__} listens")
        assert self.process.poll() is None, self.process.stderr.read().decode()
        return self

    def environment(self):
        return {}

    def __exit__(self, *why):
        self.process.terminate()
        try:
            said = self.process.communicate(timeout=PATIENCE)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert not REPORT.search(said), said

    def count(self, event):
        """Lines of this event in the logs of all guichets that were started."""
        text = self.log.read_text() if self.log.exists() else ""
        return sum(f" {event} " in line for line in text.splitlines())

    def wait_ended(self, n):
        """Until so many guichets have come to an orderly end."""
        eventually(lambda: self.count("stopped") == n, f"{n} have stopped; there are {self.count('stopped')}")

    def wait_reaped(self):
        """Until it has seen the end of all it has started; xinetd throws away what datagrams wait then."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        eventually(lambda: not children.read_text().strip(), "it has reaped its children")


class Inetd(Superserver):
    def command(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        conf = self.folder / "inetd.conf"
        conf.write_text(f"127.0.0.1:{self.at.port} {'dgram udp' if self.at.datagram else 'stream tcp'} "
                        f"{'wait' if self.wait else 'nowait'} {user} {PROGRAM} guichet serve {self.file}\n")
        return [SBIN / "inetd", "-i", "-E", conf]


class Xinetd(Superserver):
    def command(self):
        conf = self.folder / "xinetd.conf"
        conf.write_text("service guichet\n{\n" + "".join(f"\t{line}\n" for line in (
            "type = UNLISTED", f"socket_type = {'dgram' if self.at.datagram else 'stream'}",
            f"protocol = {'udp' if self.at.datagram else 'tcp'}", f"port = {self.at.port}", "bind = 127.0.0.1",
            f"wait = {'yes' if self.wait else 'no'}", f"user = {pwd.getpwuid(os.getuid()).pw_name}", f"server = {PROGRAM}",
            f"server_args = serve {self.file}", "flags = NOLIBWRAP", "disable = no")) + "}\n")
        return [SBIN / "xinetd", "-dontfork", "-f", conf, "-pidfile", self.folder / "xinetd.pid", "-filelog", self.folder / "xinetd.log"]


class SocketActivate(Superserver):
    """flags: of systemd-socket-activate. Without --accept it becomes the guichet when the first client comes."""

    def __init__(self, folder, config, kind="tcp4", flags=(), **more):
        self.flags = flags
        super().__init__(folder, config, kind, **more)

    def address(self, kind):
        return Address.parse(f"{kind}:{self.folder}/s") if kind.startswith("unix") else super().address(kind)

    def command(self):
        kind = {"udp4": ["-d"], "unixgram": ["-d"], "unixseq": ["--seqpacket"]}.get(self.at.kind, [])
        passed = [word for name in PASSED_ON if name in os.environ for word in ("-E", name)]
        return ["systemd-socket-activate", "-l", self.at.path or f"127.0.0.1:{self.at.port}", *kind, *passed, *self.flags,
                PROGRAM, "serve", self.file]
