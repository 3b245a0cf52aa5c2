"""Enhanced authentication of MQTT 5, SCRAM-SHA-256: MQTT.js, and a client of our own (paho 1.6 has none)."""
import base64
import hashlib
import hmac
import os
import secrets
import signal
import struct
import subprocess

import pytest

from daemon import PATIENCE, add_user, run

METHOD = b"SCRAM-SHA-256"
CONF = """
[guichet]
people = ./people
loops = 2
[mqtt]
listen = tcp:0
sys_interval = 0
[rules]
allow = alice * topics:#
"""


@pytest.fixture
def broker(guichet, folder):
    add_user(folder / "people", "alice")
    return guichet(config=CONF)


def digest(key, text):
    return hmac.digest(key, text, "sha256")


class Scram:
    """The client's side of an exchange (RFC 7677)."""

    def __init__(self, user="alice", password="secret"):
        self.bare, self.password = f"n={user},r={secrets.token_urlsafe(18)}".encode(), password.encode()
        self.first = b"n,," + self.bare

    def answer(self, said):
        nonce, salt, rounds = (part[2:] for part in said.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(salt), int(rounds))
        key, final = digest(salted, b"Client Key"), b"c=biws,r=" + nonce
        text = b",".join([self.bare, said, final])
        mask = digest(hashlib.sha256(key).digest(), text)
        self.signature = b"v=" + base64.b64encode(digest(digest(salted, b"Server Key"), text))
        return final + b",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, mask)))


def text(b):
    return struct.pack(">H", len(b)) + b


def number(n):
    return bytes([n]) if n < 128 else bytes([n % 128 | 128]) + number(n // 128)


def packet(first, body):
    return bytes([first]) + number(len(body)) + body


class Client:
    def __init__(self, g):
        self.sock = g.connect("tcp4")
        self.sock.settimeout(PATIENCE)

    def read(self, n):
        got = b""
        while len(got) < n:
            got += (piece := self.sock.recv(n - len(got)))
            assert piece
        return got

    def take(self):
        """Type, and body."""
        first, n, shift = self.read(1)[0], 0, 0
        while (byte := self.read(1)[0]) & 128:
            n, shift = n | (byte & 127) << shift, shift + 7
        return first >> 4, self.read(n | byte << shift)

    def takes(self, kind):
        """A packet of this type: its code and, when it is there, its authentication data."""
        got, body = self.take()
        assert got == kind
        code, at = (body[1], 2) if kind == 2 else (body[0], 1)
        data = body[at:].split(b"\x16", 1)
        return code, data[1][2:][:struct.unpack(">H", data[1][:2])[0]] if len(data) > 1 else None

    def connect(self, name, scram):
        props = b"\x15" + text(METHOD) + b"\x16" + text(scram.first)
        self.sock.sendall(packet(0x10, b"\0\4MQTT\5\2\0\0" + number(len(props)) + props + text(name)))

    def auth(self, code, data):
        props = b"\x15" + text(METHOD) + b"\x16" + text(data)
        self.sock.sendall(packet(0xf0, bytes([code]) + number(len(props)) + props))

    def proves(self, scram):
        code, said = self.takes(15)
        assert code == 0x18
        self.auth(0x18, scram.answer(said))


def enters(g, scram):
    c = Client(g)
    c.connect(b"c", scram)
    c.proves(scram)
    return c


def test_in_and_again(broker):
    scram = Scram()
    c = enters(broker, scram)
    code, said = c.takes(2)
    assert (code, said) == (0, scram.signature)
    for _ in range(2):
        scram = Scram()
        c.auth(0x19, scram.first)
        c.proves(scram)
        assert c.takes(15) == (0, scram.signature)
    c.sock.sendall(b"\xc0\0")
    assert c.take() == (13, b"")
    c.auth(0x19, (scram := Scram(password="wrong")).first)
    c.proves(scram)
    assert c.takes(14)[0] == 0x87
    assert c.sock.recv(1) == b""
    assert broker.wait_log("login-failed", service="mqtt")["user"] == "alice"
    assert broker.wait_log("closed", service="mqtt")["reason"] == "login"


def test_another_password_meanwhile(guichet, folder):
    """The old one does not let in any more, though it was right when the exchange began. Nor does what is told of that harm (debug)."""
    add_user(folder / "people", "alice")
    g = guichet("--log-level", "debug", config=CONF)
    assert enters(g, Scram()).takes(2)[0] == 0
    assert g.wait_log("connected")["user"] == "alice"
    late = Client(g)
    late.connect(b"late", scram := Scram())
    code, said = late.takes(15)
    assert code == 0x18
    done = run("user", "passwd", "alice", "--stdin", "--people", folder / "people", stdin=None, input="other\n")
    assert done.returncode == 0, done.stderr
    g.signal(signal.SIGHUP)
    g.wait_log("reloaded")
    late.auth(0x18, scram.answer(said))
    assert late.takes(2)[0] == 0x87
    assert enters(g, Scram(password="other")).takes(2)[0] == 0


@pytest.mark.parametrize("user,password", [("alice", "wrong"), ("mallory", "secret")])
def test_wrong(broker, user, password):
    c = enters(broker, Scram(user, password))
    assert c.takes(2)[0] == 0x87
    assert c.sock.recv(1) == b""
    assert broker.wait_log("login-failed", service="mqtt")["user"] == user
    broker.wait_stats(logins_failed=1)


def test_node(broker):
    a = broker.at("tcp4")
    for password, code, said in ("secret", 0, "js text\n"), ("wrong", 1, ""):
        done = subprocess.run(["node", __file__.replace("test_mqtt_auth.py", "mqtt-scram.js"), f"mqtt://{a.host}:{a.port}", "alice", password],
                              capture_output=True, text=True, timeout=PATIENCE, env=os.environ | {"NODE_PATH": "/usr/share/nodejs"})
        assert (done.returncode, done.stdout) == (code, said), done.stderr
