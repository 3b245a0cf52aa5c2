"""
A strict client of MQTT 3.1.1 and 5.0 over a raw socket, for tests of what a broker keeps: its own session state outlives its connections,
as section 4.1 of the standard wants it (packet identifiers, PUBREL that goes out again, QoS 2 that came and is not released), and
what it does not expect is a failure, at once.
"""
import os
import random
import selectors
import struct
import time

PATIENCE = int(os.environ.get("PATIENCE", 30))

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(1, 15)

# ---- bytes ----


def varint(n):
    out = b""
    while True:
        out += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return out


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(s)) + s


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


# Properties by identifier: how many bytes, "v" a varint, "s" a text, "p" a pair of them.
SIZES = {1: 1, 2: 4, 3: "s", 8: "s", 9: "s", 11: "v", 17: 4, 18: "s", 19: 2, 21: "s", 22: "s", 23: 1, 24: 4, 25: 1, 26: "s", 28: "s",
         31: "s", 33: 2, 34: 2, 35: 2, 36: 1, 37: 1, 38: "p", 39: 4, 40: 1, 41: 1, 42: 1}


def properties(**by_number):
    """properties(_17=60): the block with its length; a list stands for several of one kind."""
    out = b""
    for name, values in by_number.items():
        number = int(name[1:])
        for v in values if isinstance(values, list) else [values]:
            size = SIZES[number]
            out += bytes([number]) + (varint(v) if size == "v" else text(v) if size == "s" else
                                      text(v[0]) + text(v[1]) if size == "p" else v.to_bytes(size, "big"))
    return varint(len(out)) + out


def read_varint(body, at):
    n, shift = 0, 0
    while True:
        n |= (body[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not body[at - 1] & 128:
            return n, at


def read_properties(body, at):
    """{number: [values]} and what is behind."""
    n, at = read_varint(body, at)
    end, found = at + n, {}
    while at < end:
        number, size = body[at], SIZES[body[at]]
        at += 1
        if size == "v":
            v, at = read_varint(body, at)
        elif size in ("s", "p"):
            v = []
            for _ in range(2 if size == "p" else 1):
                n = struct.unpack_from(">H", body, at)[0]
                v.append(body[at + 2:at + 2 + n].decode())
                at += 2 + n
            v = tuple(v) if size == "p" else v[0]
        else:
            v, at = int.from_bytes(body[at:at + size], "big"), at + size
        found.setdefault(number, []).append(v)
    assert at == end
    return found, at


def split(data):
    """The packets (first byte, body) of a bytearray, which loses them."""
    at, found = 0, []
    while True:
        n, shift, i = 0, 0, at + 1
        while i < len(data):
            n |= (data[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if not data[i - 1] & 128:
                break
        else:
            break
        if i + n > len(data):
            break
        found.append((data[at], bytes(data[i:i + n])))
        at = i + n
    del data[:at]
    return found


class Message:
    """A PUBLISH that came."""

    def __init__(self, version, first, body):
        self.qos, self.retain, self.dup = first >> 1 & 3, bool(first & 1), bool(first & 8)
        n = struct.unpack_from(">H", body)[0]
        self.topic, at, self.id = body[2:2 + n].decode(), 2 + n, 0
        if self.qos:
            self.id, at = struct.unpack_from(">H", body, at)[0], at + 2
        self.props = {}
        if version == 5:
            self.props, at = read_properties(body, at)
        self.payload = body[at:]

    @property
    def ids(self):
        return sorted(self.props.get(11, []))


# ---- a client ----


class Client:
    """
    One name. What outlives a connection: `going` (what we sent and is not done), `held` (QoS 2 that came and is not released), `known`
    (the broker has told us that it has our session). take(message) is called once for each QoS 2 and at least once for each QoS 1.
    """

    def __init__(self, where, name, version=4, expiry=3600, window=20, take=None, will=None, user=None, password=None, slow=0.0, rng=random):
        self.where, self.name, self.version, self.expiry, self.window = where, name, version, expiry, window
        self.take, self.will, self.user, self.password, self.slow, self.rng = take, will, user, password, slow, rng
        self.going = {}  # id -> [topic, payload, qos, released, options], in the order of sending
        self.held = set()
        self.known = False
        self.next_id = 0
        self.sock = None
        self.got, self.put = bytearray(), bytearray()
        self.open, self.present, self.code, self.back = False, None, None, {}
        self.owed = []  # acknowledgements that are not sent yet, in order
        self.acked, self.refused, self.came, self.codes = [], [], [], {}

    # -- connection --

    def connect(self, clean=False):
        self.drop()
        self.sock = self.where()
        self.sock.setblocking(False)
        v5 = self.version == 5
        flags = 2 * clean
        body = text(self.name)
        if self.will:
            topic, payload, qos, retain, delay = self.will
            flags |= 4 | qos << 3 | retain << 5
            body += (properties(_24=delay) if v5 else b"") + text(topic) + text(payload)
        if self.user:
            flags |= 0xc0
            body += text(self.user) + text(self.password)
        head = text("MQTT") + bytes([self.version, flags]) + b"\0\0"
        self.put += packet(CONNECT, 0, head + (properties(_17=self.expiry, _33=self.window) if v5 else b"") + body)
        self.clean = clean
        if clean:
            self.going, self.held, self.known = {}, set(), False

    def drop(self):
        if self.sock:
            self.sock.close()
        self.sock, self.open, self.present, self.code = None, False, None, None
        self.got, self.put, self.owed = bytearray(), bytearray(), []

    def bye(self, code=0):
        self.put += packet(DISCONNECT, 0, bytes([code]) if code else b"")
        self.flush()
        self.drop()

    def flush(self):
        while self.put and self.sock:
            try:
                n = self.sock.send(self.put)
            except BlockingIOError:
                return
            except OSError:
                self.lost()
                return
            del self.put[:n]

    def lost(self):
        """The connection broke."""
        code = self.code
        self.drop()
        self.code = code

    def read(self):
        """What is there to be read now. False: the connection is over."""
        while self.sock:
            try:
                piece = self.sock.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            if not piece:
                self._handle_all()
                self.lost()
                return False
            self.got += piece
            if len(piece) < 1 << 16:
                break
        self._handle_all()
        return self.sock is not None

    # -- what we say --

    def _id(self):
        while True:
            self.next_id = self.next_id % 65535 + 1
            if self.next_id not in self.going:
                return self.next_id

    def room(self):
        return self.open and len(self.going) < self.window

    def publish(self, topic, payload, qos=1, retain=False, **props):
        options = (retain, properties(**props) if self.version == 5 else b"")
        if not qos:
            self.put += packet(PUBLISH, retain, text(topic) + options[1] + payload)
            return 0
        id = self._id()
        self.going[id] = [topic, payload, qos, False, options]
        self._send(id)
        return id

    def _send(self, id, dup=False):
        topic, payload, qos, released, (retain, props) = self.going[id]
        if released:
            self.put += packet(PUBREL, 2, struct.pack(">H", id))
        else:
            self.put += packet(PUBLISH, dup << 3 | qos << 1 | retain, text(topic) + struct.pack(">H", id) + props + payload)

    def subscribe(self, filters, id=0):
        """filters: (filter, options)."""
        n = self._id()
        body = struct.pack(">H", n)
        if self.version == 5:
            body += properties(**({"_11": id} if id else {}))
        self.put += packet(SUBSCRIBE, 2, body + b"".join(text(f) + bytes([o]) for f, o in filters))
        return n

    # -- what we hear --

    def _handle_all(self):
        for first, body in split(self.got):
            kind = first >> 4
            assert self.open or kind == CONNACK, f"{self.name}: packet {kind} before CONNACK"
            getattr(self, f"_on_{kind}")(first, body)
        if not self.slow or not self.owed or self.rng.random() > self.slow:
            self.pay()

    def pay(self):
        """Sends the acknowledgements that it owes."""
        for one in self.owed:
            self.put += one
        self.owed = []

    def _on_2(self, first, body):
        self.present, self.code = bool(body[0]), body[1]
        if self.version == 5:
            self.back = read_properties(body, 2)[0]
        if self.code:
            return
        self.open = True
        if self.clean:
            assert not self.present, f"{self.name}: there is a session after a clean start"
        elif self.known:
            assert self.present, f"{self.name}: the session is lost"
        self.known = self.expiry > 0
        if not self.present:
            self.held = set()
        for id in list(self.going):
            self._send(id, dup=True)

    def _on_3(self, first, body):
        m = Message(self.version, first, body)
        if m.qos == 2:
            new = m.id not in self.held
            self.held.add(m.id)
            self.owed.append(packet(PUBREC, 0, struct.pack(">H", m.id)))
            if not new:
                assert m.dup, f"{self.name}: identifier {m.id} again, and no DUP"
                return
        elif m.qos == 1:
            self.owed.append(packet(PUBACK, 0, struct.pack(">H", m.id)))
        self.came.append(m) if self.take is None else self.take(m)

    def _ack(self, body):
        id = struct.unpack_from(">H", body)[0]
        return id, body[2] if len(body) > 2 else 0

    def _on_4(self, first, body):
        id, code = self._ack(body)
        assert id in self.going and self.going[id][2] == 1, f"{self.name}: PUBACK of {id}"
        (self.refused if code >= 128 else self.acked).append((*self.going.pop(id)[:3], code))

    def _on_5(self, first, body):
        id, code = self._ack(body)
        assert id in self.going and self.going[id][2] == 2, f"{self.name}: PUBREC of {id}"
        if code >= 128:
            self.refused.append((*self.going.pop(id)[:3], code))
            return
        if not self.going[id][3]:
            self.acked.append((*self.going[id][:3], code))
        self.going[id][3] = True
        self._send(id)

    def _on_6(self, first, body):
        id, code = self._ack(body)
        assert first & 15 == 2
        self.held.discard(id)
        self.owed.append(packet(PUBCOMP, 0, struct.pack(">H", id)))

    def _on_7(self, first, body):
        id, code = self._ack(body)
        assert id in self.going and self.going[id][3], f"{self.name}: PUBCOMP of {id}"
        del self.going[id]

    def _on_9(self, first, body):
        at = 2 if self.version != 5 else read_properties(body, 2)[1]
        self.codes[struct.unpack_from(">H", body)[0]] = list(body[at:])

    def _on_11(self, first, body):
        self._on_9(first, body)

    def _on_13(self, first, body):
        self.codes["ping"] = self.codes.get("ping", 0) + 1

    def _on_14(self, first, body):
        self.code = body[0] if body else 0

    # -- one at a time, for tests that are not about load --

    def until(self, done, what, patience=None):
        """Talks until done() is true."""
        end = time.monotonic() + (patience or PATIENCE)
        while True:
            self.flush()
            if self.sock:
                with selectors.DefaultSelector() as s:
                    s.register(self.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.put else 0))
                    s.select(0.02)
            if self.sock:
                self.read()
            self.flush()
            if value := done():
                return value
            assert time.monotonic() < end, f"{self.name}: this never came true: {what}"
            assert self.sock, f"{self.name}: the connection is over (code {self.code}), and not yet: {what}"

    def enter(self, clean=False):
        self.connect(clean)
        self.until(lambda: self.open, "CONNACK")
        return self

    def wants(self, *filters, id=0):
        n = self.subscribe(filters, id)
        return self.until(lambda: self.codes.get(n), "SUBACK")

    def says(self, topic, payload, qos=1, retain=False, **props):
        """Until it is done."""
        id = self.publish(topic, payload, qos, retain, **props)
        self.until(lambda: id not in self.going, "it is acknowledged")

    def pings(self):
        n = self.codes.get("ping", 0)
        self.put += packet(PINGREQ, 0, b"")
        self.until(lambda: self.codes.get("ping", 0) > n, "PINGRESP")

    def hears(self, n):
        """The next n messages."""
        self.until(lambda: len(self.came) >= n, f"{n} messages (there are {len(self.came)})")
        found, self.came = self.came[:n], self.came[n:]
        return found


def talk(clients, seconds):
    """All of them say and hear what there is, for so long at most; returns when something has happened."""
    with selectors.DefaultSelector() as s:
        for c in clients:
            c.flush()
            if c.sock:
                s.register(c.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if c.put else 0), c)
        if not s.get_map():
            time.sleep(seconds)
            return 0
        events = s.select(seconds)
        for key, _ in events:
            c = key.data
            if c.sock:
                c.read()
            c.flush()
        return len(events)
