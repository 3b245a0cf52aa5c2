"""The trace: what is said to services, as bytes and decoded, in the log."""
import re
import socket

import pytest

from daemon import Address, add_user, free_port, hear
from pahos import Client


def notes(g, count, **fields):
    """The first so many, as `dir note`."""
    return [f"{line['dir']} {line['note']}" for line in (g.wait_log("trace", note=re.compile("."), **fields) for _ in range(count))]


def starts(lines, *beginnings):
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning), lines


def test_every_packet(guichet, folder):
    """Of a client that logs in: its CONNECT has to wait for a job, and is told once."""
    add_user(folder / "people", "alice")
    g = guichet("mqtt@tcp:0", "--trace", "--set", f"people={folder}/people", "--single")
    c = Client(g, "c", user="alice")
    assert c.subscribe("t/#", 2) == 2
    c.publish("t/x", "12345", qos=2)
    c.takes()
    c.close()
    lines = notes(g, 13, service="mqtt")
    starts(lines[:4], 'in CONNECT v5.0 c1 k60 "c" user-name="alice" password=***', "out CONNACK s0 0x00 (Success) ",
           'in SUBSCRIBE m1 "t/#" q2', "out SUBACK m1 q2")
    assert {re.sub(r" m\d+", "", line) for line in lines[4:12]} == {
        'in PUBLISH q2 r0 "t/x" 5 bytes', "out PUBREC", "in PUBREL", "out PUBCOMP",
        'out PUBLISH q2 r0 "t/x" 5 bytes', "in PUBREC", "out PUBREL", "in PUBCOMP"}
    assert lines[12].startswith("in DISCONNECT")


def test_whose_datagram(guichet):
    g = guichet("echo@udp:0,trace=yes", "echo@tcp:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        a = g.at("udp4")
        sock.connect((a.host, a.port))
        sock.send(b"hello")
        assert sock.recv(100) == b"hello"
        for direction in "in", "out":
            line = g.wait_log("trace")
            assert (line["dir"], line["raw"], line["peer"]) == (direction, "hello", f"127.0.0.1:{sock.getsockname()[1]}")


@pytest.mark.parametrize("words", [["--trace"], ["--set", "trace=yes"]])
def test_of_all_services(guichet, words):
    """But the control socket."""
    g = guichet("echo@tcp:0", "discard@tcp:0", *words)
    for service in "echo", "discard":
        with g.connect(service=service) as sock:
            sock.sendall(b"x\n")
            assert g.wait_log("trace", service=service)["raw"] == "x\n"
    g.stats()
    g.stop()
    assert not any("service=guichet" in line for line in g.err.all())


def test_it_goes_on_and_off(guichet):
    g = guichet(config="[guichet]\ntrace = yes\n[echo]\nlisten = tcp:0\n")
    with g.connect() as sock:
        sock.sendall(b"1\n")
        hear(sock, 2)
    assert g.wait_log("trace")["raw"] == "1\n"
    g.reload("[echo]\nlisten = tcp:0\n")
    with g.connect() as sock:
        sock.sendall(b"2\n")
        hear(sock, 2)
    g.stop()
    assert not any('raw="2' in line for line in g.err.all())
