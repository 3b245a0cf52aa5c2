"""Every service over every transport, under every model, with every client that can reach it: one table."""
import re
import struct
import time
from typing import NamedTuple

import pytest

from clients import CLIENTS, WAYS
from daemon import Guichet, short_folder

SERVER, CLIENT, NOBODY = "the server ends", "the client ends", "nobody ends"


class Row(NamedTuple):
    """What a client says and hears; `hears` is what comes exactly, or a function that judges it."""
    service: str
    says: bytes
    hears: object
    ends: str
    options: str = ""
    text: bool = True       # passes through clients that speak telnet
    datagram: object = None  # what a datagram of `says` is answered with, if not `hears`


def is_now(number):
    return abs(struct.unpack("!I", number)[0] - 2208988800 - time.time()) < 3600


def matches(pattern):
    return re.compile(pattern).fullmatch


LETTERS = bytes(range(32, 127))
CHARGEN = b"".join((LETTERS * 2)[i:i + 72] + b"\r\n" for i in range(40))

TABLE = {
    "echo": Row("echo", b"hello\n", b"hello\n", CLIENT),
    "echo-upper": Row("echo", b"hello\nyou\n", b"HELLO\nYOU\n", CLIENT, "upper=yes"),
    "echo-banner": Row("echo", b"x\n", b"Welcome, stranger\nx\n", CLIENT, "banner=Welcome, stranger", datagram=b"x\n"),
    "echo-reply": Row("echo", b"tea\n", b"you asked for: tea\n", CLIENT, "reply=you asked for: %s"),
    "echo-until": Row("echo", b"fine\nfin\n", b"fine\n", SERVER, "until=fin", datagram=b"fine\nfin\n"),
    "echo-successor": Row("echo", b"HAL\n", b"IBM\x0b", CLIENT, "successor=yes", text=False),
    "echo-all": Row("echo", b"abz\n", b"hi\n<BC{>\n", CLIENT, "banner=hi,successor=yes,upper=yes,reply=<%s>,until=gjo",
                    datagram=b"<BC{>\n"),
    "discard": Row("discard", b"hello\n", b"", CLIENT),
    "chargen": Row("chargen", b"x\n", CHARGEN, NOBODY, datagram=matches(rb"[ -~\r\n]{1,512}")),
    "daytime": Row("daytime", b"\n", matches(rb"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\r?\n"), SERVER),
    "daytime-iso": Row("daytime", b"\n", matches(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+02:00\r?\n"), SERVER, "format=iso,zone=+02:00"),
    "time": Row("time", b"\n", is_now, SERVER, text=False),
    "qotd": Row("qotd", b"\n", matches(rb"Know thyself\.\r?\n"), SERVER, "quote=Know thyself."),
    "relay": Row("relay", b"hello\n", b"hello\n", CLIENT),
    "skeleton": Row("skeleton", b"one\ntwo\n", b"hello\n1: one\n2: two\n", CLIENT, "greeting=hello"),
}
STREAM_ONLY = {"relay", "skeleton"}
MODELS = ["event", "thread"]


@pytest.fixture(scope="module", params=[f"{name}-{model}" for name in TABLE for model in MODELS])
def served(request):
    """A guichet that serves one row under one model everywhere."""
    name, model = request.param.rsplit("-", 1)
    row = TABLE[name]
    where = ["tcp:0", "tls:0", "unix:s.sock"] + (["udp:0"] if row.service not in STREAM_ONLY else [])
    options = f",model={model}" + (f",{row.options}" if row.options else "")
    with short_folder() as folder, short_folder() as far_folder:
        far = None
        if row.service == "relay":
            far = Guichet(far_folder, "echo@tcp:0")
            options += f",to={far.at('tcp4').text}"
        g = Guichet(folder, *[f"{row.service}@{a}" for a in where[:-1]], f"{row.service}@{where[-1]}{options}")
        assert g.facts["services"][0]["model"] == model
        yield g, row
        g.stop()
        if far:
            far.stop()


def judge_of(hears):
    return hears if callable(hears) else lambda heard: heard == hears


def converse(client, row):
    """A whole conversation over a stream."""
    client.say(row.says)
    if row.ends == SERVER:
        heard = client.rest()
        assert judge_of(row.hears)(heard), heard
        return
    heard = client.hear(len(row.hears))
    assert heard == row.hears
    if row.ends == CLIENT and client.halves:
        client.end()
        assert client.rest() == b""


def exchange(client, row):
    """One datagram, and its answer."""
    client.say(row.says)
    hears = row.hears if row.datagram is None else row.datagram
    if hears:
        client.hear_until(judge_of(hears))


@pytest.mark.parametrize("kind,name", WAYS, ids=["-".join(way) for way in WAYS])
def test_conversation(served, kind, name):
    g, row = served
    make = CLIENTS[name][0]
    if not make.exact and not row.text:
        pytest.skip("speaks telnet: these bytes would not arrive as they are")
    if kind.startswith("udp") and row.service in STREAM_ONLY:
        pytest.skip("a stream service")
    client, before = CLIENTS[name][0](g.at(kind)), g.stats()
    try:
        if kind.startswith("udp"):
            exchange(client, row)
            g.wait_stats(datagrams_in=lambda n: n > before["datagrams_in"])
        else:
            converse(client, row)
            g.wait_stats(bytes_in=lambda n: n > before["bytes_in"])
    finally:
        client.close()
