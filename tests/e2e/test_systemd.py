"""What systemd is told: READY when everything listens, RELOADING and READY around a reload, STOPPING at once."""
import re
import signal
import time


def test_life(guichet):
    g = guichet(config="[echo]\nlisten = tcp:0\n[time]\nlisten = tcp:0\n")
    g.file.write_text("[echo]\nlisten = tcp:0\n")
    before = time.monotonic_ns() // 1000
    g.signal(signal.SIGHUP)
    reloading = g.wait_note("RELOADING")
    assert reloading["RELOADING"] == "1" and before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert g.wait_note("READY") == {"READY": "1", "STATUS": "Serving 1 service"}
    g.signal(signal.SIGTERM)
    assert g.wait_note("STOPPING")["STOPPING"] == "1"
    g.wait()


def test_first_ready(guichet):
    """READY comes when the ports are open, and tells how many services there are."""
    g = guichet("echo@tcp:0", "time@tcp:0", "qotd@tcp:0")
    assert re.fullmatch(r"Serving 3 services", g.first_note["STATUS"])


def test_ready_again_after_a_refused_reload(guichet):
    g = guichet(config="[echo]\nlisten = tcp:0\n")
    assert g.reload("[ecko]\n").startswith("Serving the old configuration; the new one has 1 mistake")
