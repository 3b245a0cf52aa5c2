"""Clients of what is no socket: named pipes and POSIX message queues, written down from docs/design/fifo.md and mq.md."""
import ctypes
import itertools
import os
import select
import time
from pathlib import Path

from daemon import PATIENCE

NUMBERS = itertools.count()


def readable(fd, what):
    assert select.select([fd], [], [], PATIENCE)[0], f"{what} does not come"


class Pipes:
    """A conversation over named pipes."""
    halves = exact = True
    waits = lines = False

    def __init__(self, address, name=None):
        path = Path(address.path)
        self.name = name or f"py-{os.getpid()}-{next(NUMBERS)}"
        self.to, self.back = (path.parent / f"{self.name}.{side}" for side in "cs")
        os.mkfifo(self.to)
        os.mkfifo(self.back)
        self.read = os.open(self.back, os.O_RDONLY | os.O_NONBLOCK)
        announce(path, self.name)
        self.write = os.open(self.to, os.O_WRONLY)  # waits until the server has it
        self._got = b""

    def say(self, data):
        while data:
            data = data[os.write(self.write, data):]

    def _more(self):
        end = time.monotonic() + PATIENCE
        while True:  # before the server has opened it, nothing there looks like its end
            readable(self.read, "something")
            try:
                piece = os.read(self.read, 65536)
            except BlockingIOError:
                assert time.monotonic() < end
                continue
            self._got += piece
            return bool(piece)

    def hear(self, n):
        while len(self._got) < n:
            assert self._more(), f"the end came after {self._got!r}"
        got, self._got = self._got[:n], self._got[n:]
        return got

    def end(self):
        if self.write is not None:
            os.close(self.write)
        self.write = None

    def rest(self):
        while self._more():
            pass
        got, self._got = self._got, b""
        return got

    def close(self):
        self.end()
        os.close(self.read)
        self.to.unlink()
        self.back.unlink()


def announce(path, name):
    """A line to the FIFO of a service, which must be there and have somebody who reads from it."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fd, (name if isinstance(name, bytes) else name.encode()) + b"\n")
    finally:
        os.close(fd)


# ---- message queues ----

libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("flags", "maxmsg", "msgsize", "curmsgs", "r1", "r2", "r3", "r4")]


def mq_check(value):
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return value


def mq_open(name, flags, mode=0o600, maxmsg=10, msgsize=8192):
    return mq_check(libc.mq_open(name.encode(), flags, mode, ctypes.byref(Attributes(0, maxmsg, msgsize))))


def mq_send(queue, data):
    mq_check(libc.mq_send(queue, data, len(data), 0))


def mq_receive(queue):
    buffer = ctypes.create_string_buffer(8192)
    n = mq_check(libc.mq_receive(queue, buffer, 8192, None))
    return buffer.raw[:n]


def mq_unlink(name):
    return libc.mq_unlink(name.encode()) == 0


class Queues:
    """Datagrams by message queues."""
    halves = waits = lines = False
    exact = True

    def __init__(self, address, **more):
        self.name = f"/guichet-py-{os.getpid()}-{next(NUMBERS)}"
        self.to = mq_open(address.path, os.O_WRONLY | os.O_NONBLOCK)
        self.back = mq_open(self.name, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK, **more)

    def say(self, data):
        mq_send(self.to, self.name.encode() + b" " + data)

    def hear(self):
        readable(self.back, "a message")
        return mq_receive(self.back)

    def hear_until(self, judge):
        got = b""
        while not judge(got):
            got += self.hear()

    def close(self):
        mq_unlink(self.name)
        os.close(self.to)
        os.close(self.back)
