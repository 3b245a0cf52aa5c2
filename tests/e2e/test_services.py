"""
Every service over every transport, under every model, from one table: with Python and one real client. The rows of SHOWN,
in which first the client and then the server ends, with every client that can reach the address.
"""
import functools
import re
import socket
import struct
import time
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from clients import CLIENTS, WAYS, Inherited, Stdio
from daemon import Guichet, short_folder

SHOWN = {"echo-event", "qotd-event", "qotd-fork", "qotd-iterative", "qotd-pool", "qotd-prefork", "qotd-symmetric", "qotd-thread"}
ALWAYS = {"python", "socat", "pipes", "queues"}  # together they reach everything
SERVER, CLIENT, NOBODY = "the server ends", "the client ends", "nobody ends"


class Row(NamedTuple):
    """What a client says and hears; `hears` is what comes exactly, or a function that judges it."""
    service: str
    says: bytes
    hears: object
    ends: str
    options: str = ""
    text: bool = True        # passes through clients that speak telnet
    asks: bytes = b""        # a datagram, if not `says`
    answers: object = None   # and what comes back, if not `hears`; b"" is silence


def is_now(number):
    return len(number) == 4 and abs(struct.unpack("!I", number)[0] - 2208988800 - time.time()) < 3600


def matches(pattern):
    return re.compile(pattern).fullmatch


LETTERS = bytes(range(32, 127))
CHARGEN = b"".join((LETTERS * 2)[i:i + 72] + b"\r\n" for i in range(40))

TABLE = {
    "echo": Row("echo", b"hello\n", b"hello\n", CLIENT),
    "echo-upper": Row("echo", b"hello\nyou\n", b"HELLO\nYOU\n", CLIENT, "upper=yes"),
    "echo-banner": Row("echo", b"x\n", b"Welcome, stranger\nx\n", CLIENT, "banner=Welcome, stranger", answers=b"x\n"),
    "echo-reply": Row("echo", b"tea\n", b"you asked for: tea\n", CLIENT, "reply=you asked for: %s"),
    "echo-until": Row("echo", b"fine\nfin\n", b"fine\n", SERVER, "until=fin", answers=b"fine\nfin\n"),
    "echo-successor": Row("echo", b"HAL\n", b"IBM\x0b", CLIENT, "successor=yes", text=False),
    "echo-all": Row("echo", b"abz\n", b"hi\n<BC{>\n", CLIENT, "banner=hi,successor=yes,upper=yes,reply=<%s>,until=gjo",
                    answers=b"<BC{>\n"),
    "discard": Row("discard", b"hello\n", b"", CLIENT),
    "chargen": Row("chargen", b"", CHARGEN, NOBODY, asks=b"x\n", answers=matches(rb"[ -~\r\n]{1,512}")),
    "daytime": Row("daytime", b"", matches(rb"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\r?\n"), SERVER, asks=b"\n"),
    "daytime-iso": Row("daytime", b"", matches(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+02:00\r?\n"), SERVER, "format=iso,zone=+02:00",
                       asks=b"\n"),
    "time": Row("time", b"", is_now, SERVER, text=False, asks=b"\n"),
    "qotd": Row("qotd", b"", matches(rb"Know thyself\.\r?\n"), SERVER, "quote=Know thyself.", asks=b"\n"),
    "relay": Row("relay", b"hello\n", b"hello\n", CLIENT),
    "skeleton": Row("skeleton", b"one\ntwo\n", b"hello\n1: one\n2: two\n", CLIENT, "greeting=hello", asks=b"one\n", answers=b"1: one\n"),
}


@dataclass
class Talks:
    """How many there were; the rude ones ended without a goodbye."""
    streams: int = 0
    datagrams: int = 0
    rude: int = 0


STREAM_ONLY = {"relay"}
DATAGRAMS = {"udp4", "udp6", "unixgram", "mq"}
MODELS = ["event", "fork", "iterative", "pool", "prefork", "symmetric", "thread"]


@pytest.fixture(scope="module")
def served(request):
    """A guichet that serves one row under one model everywhere, its row, and what has been said."""
    name, model = request.param.rsplit("-", 1)
    row = TABLE[name]
    where = ["tcp:0", "tls:0", "ws:0", "wss:0", "unix:s.sock", "unixseq:q.sock", "fifo:f"]
    where += ["udp:0", "unixgram:g.sock"] if row.service not in STREAM_ONLY else []
    where += ["mq:/q"] if row.service not in STREAM_ONLY and model == "event" else []
    options = f",model={model}" + (f",{row.options}" if row.options else "")
    with short_folder() as folder, short_folder() as far_folder:
        far = None
        if row.service == "relay":
            far = Guichet(far_folder, "echo@tcp:0")
            options += f",to={far.at('tcp4').text}"
        g = Guichet(folder, *[f"{row.service}@{a}" for a in where[:-1]], f"{row.service}@{where[-1]}{options}")
        assert g.facts["services"][0]["model"] == model
        talks = Talks()
        yield g, row, talks
        g.wait_stats(accepted=talks.streams, closed=talks.streams, datagrams_in=talks.datagrams, errors=lambda n: n <= talks.rude)
        g.stop()
        if far:
            far.stop()


def judge_of(hears):
    return hears if callable(hears) else lambda heard: heard == hears


def skips(where, row, kind, name):
    """Why this client does not talk to this row, or None."""
    if name not in ALWAYS and where not in SHOWN:
        return "another row shows this client"
    if name == "socat" and not where.endswith("-event") and where not in SHOWN:
        return "what it is that comes in does not depend on the model"
    if not CLIENTS[name][0].exact and not row.text:
        return "speaks telnet: these bytes would not arrive as they are"
    if kind in DATAGRAMS and row.service in STREAM_ONLY:
        return "a stream service"
    if kind == "mq" and not where.endswith("-event"):
        return "message queues are served by model event only"
    return None


# Cases with the same object as `where` share a guichet: pytest compares what a fixture gets by identity.
CASES = [(where, kind, name) for where, row in [(f"{row}-{model}", row) for row in TABLE for model in MODELS]
         for kind, name in WAYS if not skips(where, TABLE[row], kind, name)]


def converse(client, row):
    """A whole conversation over a stream."""
    if row.says:
        client.say(row.says)
    if row.ends == SERVER:
        if client.waits:
            client.end()
        heard = client.rest()
        assert judge_of(row.hears)(heard), heard
        return
    hears = row.hears if client.exact else row.hears.replace(b"\r", b"")
    assert client.hear(len(hears)) == hears
    if row.ends == CLIENT and client.halves:
        client.end()
        assert client.rest() == b""


def exchange(client, row):
    """One datagram, and its answer."""
    client.say(row.asks or row.says)
    hears = row.hears if row.answers is None else row.answers
    if hears:
        client.hear_until(judge_of(hears))


@pytest.mark.parametrize("served,kind,name", CASES, indirect=["served"], ids=["-".join(case) for case in CASES])
def test_conversation(served, kind, name):
    g, row, talks = served
    make = CLIENTS[name][0]
    client = make(g.at(kind))
    try:
        if kind in DATAGRAMS:
            talks.datagrams += (row.asks or row.says).count(b"\n") if make.lines else 1
            exchange(client, row)
            g.wait_stats(datagrams_in=talks.datagrams)
        else:
            talks.streams += 1
            talks.rude += row.ends == NOBODY or not client.halves
            before = g.stats()["bytes_in"] if row.hears == b"" else 0
            converse(client, row)
            if row.hears == b"":
                g.wait_stats(bytes_in=lambda n: n >= before + len(row.says))
    finally:
        client.close()


WAYS_IN = {"pipes": Stdio, "socket": Inherited, "records": functools.partial(Inherited, kind=socket.SOCK_SEQPACKET)}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("way,model", [("pipes", "event"), ("records", "event"), *(("socket", model) for model in MODELS)])
def test_stdio(folder, name, way, model):
    """The same over standard input and output, by a server that is there for this one conversation."""
    row = TABLE[name]
    far = Guichet(folder, "echo@tcp:0") if row.service == "relay" else None
    more = [f"to={far.at('tcp4').text}"] if far else []
    client = WAYS_IN[way](",".join([f"{row.service}@stdio:", f"model={model}", *more, *([row.options] if row.options else [])]))
    try:
        converse(client, row)
    finally:
        client.close()
        if far:
            far.stop()
