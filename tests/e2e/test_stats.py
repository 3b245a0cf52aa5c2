"""`guichet stats`: what is counted, as JSON and for people, over a socket that only its owner reaches."""
import json
import os
import re
import socket

import pytest

from daemon import SANITIZED, Address, hear, reset, rest, run

MODELS = ["event", "pool", "symmetric", "thread"]  # with two conversations at once


def said(sock, says=b"x\n"):
    sock.sendall(says)
    assert hear(sock, len(says)) == says


def asked(g, *words):
    done = run("stats", "--control", g.control, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("model", MODELS)
def test_counters(guichet, model):
    g = guichet(f"echo@tcp:0,model={model},max=2", "echo@udp:0", "time@tcp:0")
    with g.connect(service="echo") as one, g.connect(service="echo") as two:
        said(one, b"12345")
        said(two, b"123")
        with g.connect(service="echo") as three:
            assert rest(three) == b""
        with g.connect("udp4", "echo") as sock:
            sock.send(b"1234567")
            assert sock.recv(10) == b"1234567"
        g.wait_stats("echo", open=2, accepted=2, closed=0, refused_max=1, first_replies=2)
        reset(two)
    found = g.wait_stats("echo", open=0, accepted=2, closed=2, errors=1, bytes_in=15, bytes_out=15, datagrams_in=1, datagrams_out=1)
    assert 0 < found["first_reply_ns"] < 60e9
    with g.connect(service="time") as sock:
        assert len(rest(sock)) == 4
    g.wait_stats("time", accepted=1, closed=1, bytes_in=0, bytes_out=4, errors=0, first_replies=1)


def test_bytes_are_those_of_the_wire(guichet):
    g = guichet("echo@tls:0")
    with g.connect("tls4") as sock:
        said(sock)
        found = g.wait_stats(handshakes=1, open=1)
        assert found["bytes_in"] > 100 and found["bytes_out"] > 100


def test_json(guichet):
    g = guichet("echo@tcp:0", "chat@unix:c.sock", "--set", "loops=2")
    found = json.loads(asked(g, "--json"))
    assert list(found) == ["process", "processes", "services"]
    monitor, worker = found["processes"]
    assert (monitor["name"], monitor["pid"], worker["name"]) == ("monitor", g.pid, "main")
    process = found["process"]
    assert process["resident_bytes"] == monitor["resident_bytes"] + worker["resident_bytes"]
    assert process["pid"] == g.pid and process["loops"] == 2 and process["uptime"] >= 0
    assert 0 < process["descriptors"] < process["descriptors_max"] and process["resident_bytes"] > 0
    assert SANITIZED or process["heap_bytes"] > 0  # a sanitizer has a heap of its own
    by_name = {s["name"]: s for s in found["services"]}
    assert set(by_name) == {"echo", "chat", "guichet"}  # the control socket counts itself
    assert by_name["echo"]["addresses"] == [a.text for a in g.addresses("echo")]
    assert {"lines", "deliveries", "dropped"} <= set(by_name["chat"])  # a protocol's own
    assert by_name["echo"]["protocol"] == "echo" and by_name["echo"]["model"] == "event"


def test_for_people(guichet):
    g = guichet("echo@tcp:0,max=1", "time@tcp:0")
    with g.connect(service="echo") as sock:
        said(sock)
        g.connect(service="echo").close()
        g.wait_stats("echo", refused_max=1)
        text = asked(g)
    first, _, processes, monitor, worker, _, heading, *rows = text.splitlines()
    assert re.match(rf"guichet \S+, pid {g.pid}, up \d+ s, ", first)
    assert processes.split() == ["process", "pid", "up", "resident", "heap", "descriptors"]
    assert re.match(rf"monitor +{g.pid} ", monitor) and re.match(r"main +\d+ ", worker)
    assert heading.split()[:4] == ["service", "model", "open", "accepted"]
    assert re.match(r"echo +event +1 +1 +2 +2 +0 ", rows[0])
    assert re.match(r" +refused_max +1 +connections refused by the option max", rows[1])
    assert re.match(r"time +event +0 +0 +0 +0 +0 +-", rows[-1])


def test_found_by_itself(guichet):
    """In the folder where the daemon was started no path is needed."""
    g = guichet("echo@tcp:0", test=False)
    done = run("stats", cwd=g.folder)
    assert done.returncode == 0 and "echo" in done.stdout
    done = run("stats", cwd="/")
    assert done.returncode == 1 and "no guichet was started in this folder" in done.stderr


def test_nobody_answers(guichet):
    g = guichet("echo@tcp:0", test=False)
    g.kill()
    done = run("stats", cwd=g.folder)
    assert done.returncode == 1 and "no guichet is running" in done.stderr
    done = run("stats", "--control", g.folder / "none.sock")
    assert done.returncode == 1 and done.stderr.startswith(f"guichet: there is no {g.folder}/none.sock")


def test_only_its_owner_may_ask(guichet):
    g = guichet("echo@tcp:0")
    assert os.stat(g.control).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("line,answer", [
    ("version", r"guichet \d+\.\d+\.\d+(-dev)?\n"), ("stats", "error: unknown request, one of: stats json, stats text, reload, version\n"),
    ("x" * 1000, "error: the line is too long\n"), ("", "error: unknown request.*\n"),
])
def test_requests(guichet, line, answer):
    g = guichet("echo@tcp:0")
    assert re.fullmatch(answer, g.ask(line))


def test_whoever_hangs_on_to_it(guichet):
    """Clients of the control socket that say nothing are no obstacle."""
    g = guichet("echo@tcp:0")
    socks = [Address.parse("unix:" + g.control).connect() for _ in range(20)]
    assert g.stats()["accepted"] == 0
    for sock in socks:
        sock.close()
