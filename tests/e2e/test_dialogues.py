"""The written dialogues of every protocol, replayed over the real network under every model, in pieces of 1 to n bytes."""
import contextlib
import socket

import pytest

from daemon import PATIENCE, Guichet, hear, short_folder
from dialogue import load_all

MODELS = ["event", "iterative", "pool", "symmetric", "thread"]
FULLY = ["event", "thread"]  # over each transport and in pieces of each size; the others over one, in few
PIECES = [1, 2, 3, 7, 1000, 1 << 20]
SENDS_MAX = 25000  # pieces that one replay may be cut into: a long text is not sent byte by byte
MOMENT = 0.02      # seconds in which nothing comes

DIALOGUES = [d for d in load_all() if not d.wall]
TO = {"tcp": ("tcp4", "tcp:0"), "unix": ("unix", "unix:s.sock"), "tls": ("tls4", "tls:0"), "udp": ("udp4", "udp:0")}


def suits(d, model):
    if d.service in ("chat", "mqtt"):
        return model == "event"
    if d.dgram:
        return model in ("event", "iterative", "pool")
    return model != "iterative" or d.clients == 1


def cases():
    for d in DIALOGUES:
        for model in MODELS:
            if not suits(d, model):
                continue
            for transport in ["udp"] if d.dgram else TO if model in FULLY else ["tcp"]:
                # Python's ssl cannot end its half and read on; that is shown with `guichet connect`.
                if transport == "udp" and not d.dgram or transport == "tls" and d.has("eof"):
                    continue
                yield pytest.param(d, model, transport, id=f"{d.name}-{model}-{transport}")


class Stage:
    """A guichet, the clients a, b, ... and perhaps the far side z of one replay."""

    def __init__(self, stack, d, model, transport):
        self.parts, self.far, options = {}, None, d.options | {"model": model}
        if d.far:
            self.far = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.far.settimeout(PATIENCE)
            options["to"] = f"tcp:127.0.0.1:{self.far.getsockname()[1]}"
        kind, address = TO[transport]
        folder = stack.enter_context(short_folder())
        config = f"[{d.service}]\nlisten = {address}\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
        self.g = Guichet(folder, "--set", f"loops={d.loops or 2}", config=config)
        stack.callback(self.end)
        for i in range(d.clients):
            self.parts["abcdefgh"[i]] = stack.enter_context(self.g.connect(kind))
            if transport != "udp":
                self.g.wait_stats(accepted=i + 1)
        if self.far:
            self.parts["z"] = stack.enter_context(self.far.accept()[0])
            self.parts["z"].settimeout(PATIENCE)

    def end(self):
        """The clients have gone before."""
        try:
            self.g.stop()
        finally:
            self.g.kill()


def overheard(sock, seconds):
    """What comes within so many seconds, though nothing should; TLS has records that are nothing to us."""
    sock.settimeout(seconds)
    try:
        return sock.recv(65536)
    except TimeoutError:
        return None
    finally:
        sock.settimeout(PATIENCE)


def play(stage, step, piece):
    sock = stage.parts[step.who]
    if step.verb == ">":
        assert hear(sock, len(step.what)) == step.what
    elif step.verb == "<":
        for at in range(0, len(step.what), piece):
            sock.sendall(step.what[at:at + piece])
    elif step.what == "eof":
        sock.shutdown(socket.SHUT_WR)
    elif step.what == "closed":
        assert sock.recv(100) == b""
    else:
        assert step.what == "silence" and overheard(sock, MOMENT) is None




@pytest.mark.parametrize("d,model,transport", cases())
def test_dialogue(d, model, transport):
    pieces = [1 << 20] if d.dgram or not d.says else [n for n in PIECES if d.longest // n < SENDS_MAX and n < 2 * d.longest] + [1 << 20]
    if model not in FULLY:
        pieces = sorted({pieces[0], pieces[-1]})
    for piece in pieces:
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, d, model, transport)
            for step in d.steps:
                try:
                    play(stage, step, piece)
                except (AssertionError, OSError) as e:
                    raise AssertionError(f"{d.path}:{step.line}, in pieces of {piece}: {e!r}") from e
            left = {who: overheard(sock, 0.001) for who, sock in stage.parts.items()}
            assert not any(left.values()), f"{d.path}: not expected: {left}"
            for who in [who for who in stage.parts if who != "z"]:
                stage.parts[who].close()
            if "z" in stage.parts:
                stage.parts["z"].close()
