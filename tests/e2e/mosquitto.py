"""
mosquitto: its clients, and its broker, which is unpacked by tools/unpack and not installed. And a relay that stands between a
broker and clients of any make: it tells when they have subscribed, which they do not tell themselves, and can break connections.
"""
import collections
import contextlib
import queue
import select
import socket
import subprocess
import threading

from daemon import PATIENCE, ROOT, eventually, free_port

PROGRAM = ROOT / "build" / "unpacked" / "usr" / "sbin" / "mosquitto"


class Mosquitto:
    """The broker, with these lines behind its listener; it can be stopped and started again on the same port."""

    def __init__(self, folder, *lines, port=None, listener=("allow_anonymous true",)):
        folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self.file, self.log_file = folder / "mosquitto.conf", folder / "mosquitto.log"
        self.file.write_text("\n".join(["log_type all", f"log_dest file {self.log_file}", "user root", f"listener {self.port} 127.0.0.1",
                                        *listener, *lines]) + "\n")
        self.start()

    def start(self):
        self.log_file.unlink(missing_ok=True)
        self.process = subprocess.Popen([PROGRAM, "-c", str(self.file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: self.log_file.exists() and "running" in self.log_file.read_text(), "mosquitto runs")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self.process = None


# ---- its clients ----


def address_of(g, kind="tcp4"):
    a = g.at(kind, "mqtt")
    if a.path:
        return ["--unix", a.path]
    return ["-h", a.host, "-p", str(a.port), *(["--cafile", str(g.data / "auto.crt"), "--insecure"] if a.secure else [])]


def mosquitto_pub(g, *argv, kind="tcp4", **more):
    """To its end: a CompletedProcess with texts."""
    return subprocess.run(["mosquitto_pub", *address_of(g, kind), *argv], **({"capture_output": True, "text": True, "timeout": PATIENCE} | more))


@contextlib.contextmanager
def mosquitto_sub(g, *argv, kind="tcp4"):
    """A queue of the lines that it prints, with notes of its own among them; it has subscribed when the body begins."""
    with subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", *address_of(g, kind), *argv, "-d"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, bufsize=1) as p:
        lines = queue.SimpleQueue()
        reader = threading.Thread(target=lambda: [lines.put(line) for line in p.stdout], daemon=True)
        reader.start()
        try:
            while "SUBACK" not in lines.get(timeout=PATIENCE):
                pass
            yield lines
        finally:
            p.kill()
            reader.join()


def heard(lines):
    """The next line that is no note of its own."""
    while (line := lines.get(timeout=PATIENCE)).startswith(("Client ", "Subscribed")):
        pass
    return line.rstrip("\n")


# ---- between a broker and its clients ----


class Relay:
    """
    Passes on what is said to a broker on loopback and what that answers, and counts the packets of each type among the latter.
    `cuts`: after so many bytes of the client's, the first connection, the second ... is broken; 0: never, as are those behind.
    """
    PUBREL, SUBACK = 6, 9

    def __init__(self, port, cuts=()):
        self.target, self.cuts, self.passed = port, iter(cuts), collections.Counter()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[client, next(self.cuts, 0)], daemon=True).start()

    def _serve(self, client, most):
        said, answers = 0, b""
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.target)) as server:
            for sock in client, server:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for sock in select.select([client, server], [], [])[0]:
                    data = sock.recv(4096)
                    if not data or (most and said > most):
                        return
                    (server if sock is client else client).sendall(data)
                    if sock is client:
                        said += len(data)
                    else:
                        answers = self._count(answers + data)

    def _count(self, answers):
        """What is left of them behind the last whole packet."""
        while (size := self._size(answers)) and size <= len(answers):
            self.passed[answers[0] >> 4] += 1
            answers = answers[size:]
        return answers

    @staticmethod
    def _size(data):
        """Of the first packet; 0: not all of its length is there."""
        n = 0
        for i, byte in enumerate(data[1:5]):
            n |= (byte & 127) << 7 * i
            if byte < 128:
                return i + 2 + n
        return 0

    def wait(self, kind, n):
        """Until so many packets of this type have been passed on since it was made."""
        eventually(lambda: self.passed[kind] >= n, f"{n} packets of type {kind} ({self.passed[kind]} there)")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
