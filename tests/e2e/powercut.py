"""
A disk that remembers in what order it was written and when it was flushed, to cut its power afterwards at any moment: what was written
before the last flush that ended is there, of what came later any part. It is one file in a file system of our own (FUSE, spoken
here over /dev/fuse), under a loop device; so the kernel's page cache, ext4 and its journal are between it and those who write.
"""
import contextlib
import os
import stat
import struct
import subprocess
import threading

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, BATCH_FORGET = \
    1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 25, 26, 36, 42
ENOSYS, ENOENT = 38, 2
SECTOR = 512


class Disk:
    """`size` bytes; .log: (offset, bytes) of a write, None of a flush. .device is a loop device over it while it is used as `with`."""

    def __init__(self, folder, size):
        self.place, self.size = folder / "fuse", size
        self.data, self.log = bytearray(size), []
        self.lock = threading.Lock()

    def __enter__(self):
        self.place.mkdir()
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        words = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"disk", str(self.place).encode(), b"fuse", 0, words):
            os.close(self.fd)
            raise OSError(ctypes.get_errno(), "FUSE cannot be mounted")
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        self.device = subprocess.run(["losetup", "-f", "--show", str(self.place / "disk")], check=True, capture_output=True,
                                     text=True, timeout=30).stdout.strip()
        return self

    def __exit__(self, *_):
        subprocess.run(["losetup", "-d", self.device])
        subprocess.run(["umount", "-l", str(self.place)])
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def written(self):
        """How far it is now: for cut()."""
        with self.lock:
            return len(self.log)

    def cut(self, base, start, at, rng):
        """The bytes that there are when the power fails after log entry `at`. `base`: what there was at entry `start`."""
        image = bytearray(base)
        flushed = max((i for i in range(start, at) if self.log[i] is None), default=start)
        for i, entry in enumerate(self.log[start:at], start):
            if entry is None:
                continue
            offset, data = entry
            if i < flushed or rng.random() < 0.5:
                image[offset:offset + len(data)] = data
            elif rng.random() < 0.2:  # some of its sectors
                for k in range(0, len(data), SECTOR):
                    if rng.random() < 0.5:
                        image[offset + k:offset + k + SECTOR] = data[k:k + SECTOR]
        return image

    # -- the protocol, as far as a loop device needs it (linux/fuse.h, 7.31) --

    def _attr(self, node):
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o600
        size = 0 if node == 1 else self.size
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                request = os.read(self.fd, (1 << 17) + 4096)
                n, op, unique, node, *_ = struct.unpack_from("<IIQQIIII", request)
                answer = self._answer(op, node, request[40:n])
                if answer is None:
                    continue
                error, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
                os.write(self.fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    def _answer(self, op, node, body):
        if op == INIT:
            major, minor, ahead, flags = struct.unpack_from("<IIII", body)
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, ahead, 1 << 5, 16, 12, 1 << 16, 1, 16, 0, 0)  # BIG_WRITES
        if op == LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                return ENOENT
            return struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + self._attr(2)
        if op in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attr(node)
        if op == OPEN:
            return struct.pack("<QII", 1, 1, 0)  # DIRECT_IO: each write comes here, in its turn
        if op == READ:
            _, offset, n = struct.unpack_from("<QQI", body)
            return bytes(self.data[offset:offset + n])
        if op == WRITE:
            _, offset, n = struct.unpack_from("<QQI", body)
            data = body[40:40 + n]
            with self.lock:
                self.data[offset:offset + n] = data
                self.log.append((offset, data))
            return struct.pack("<II", n, 0)
        if op == FSYNC:
            with self.lock:
                self.log.append(None)
            return b""
        if op in (RELEASE, FLUSH):
            return b""
        if op == STATFS:
            return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 10, 5, 4096, 255, 4096, 0)
        return None if op in (FORGET, BATCH_FORGET, INTERRUPT) else ENOSYS


@contextlib.contextmanager
def mounted(what, place, *options):
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", *options, str(what), str(place)], check=True, capture_output=True, timeout=60)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=60)
