"""
A page in a browser: Chromium, as Debian has it, without a window. The page comes from a server of this test and tells it what it has
seen, so nothing has to steer the browser.
"""
import contextlib
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest

from daemon import PATIENCE

START = 3 * PATIENCE  # a browser has much to do before it shows a page

HERE = Path(__file__).parent / "browser"
NODE = Path("/usr/share/nodejs")
PAGE = b"<!doctype html><meta charset=utf-8><title>page</title><script src=/bundle.js></script><script src=/talk.js></script>"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """MQTT.js in one file, for browsers."""
    out = tmp_path_factory.mktemp("bundle") / "bundle.js"
    replaced = {"buffer": NODE / "buffer/index.js", "url": NODE / "url/url.js", "stream": "stream-browserify", "ws": HERE / "websocket.js"}
    subprocess.run(["esbuild", HERE / "mqtt.js", "--bundle", "--platform=browser", "--define:global=globalThis", "--log-level=error",
                    *(f"--alias:{name}={path}" for name, path in replaced.items()), f"--outfile={out}"],
                   check=True, timeout=PATIENCE, env=os.environ | {"NODE_PATH": str(NODE)})
    return out.read_bytes()


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, body = self.server.files.get(self.path.split("?")[0], (None, b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def pages(**files):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.files = {"/": ("text/html", PAGE)} | {f"/{name}.js": ("text/javascript", body) for name, body in files.items()}
    server.told = queue.SimpleQueue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def browser(folder, url):
    """It ends with the body, and so do the processes that it has made: they are its session's."""
    home = folder / "browser"
    argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={home}", url]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                          env=os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}) as p:
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, 9)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("version", ["4", "5"])
def test_mqtt(guichet, folder, bundle, version):
    with pages(bundle=bundle, talk=(HERE / "talk.js").read_bytes()) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        g = guichet(config=f"[mqtt]\nlisten = ws:0\nws_origins = {origin}\n")
        a = g.at("ws4")
        with browser(folder, f"{origin}/?{urlencode({'broker': f'ws://{a.host}:{a.port}/', 'version': version})}"):
            told = server.told.get(timeout=START)
    assert sorted(told.get("came", [told])) == [f"page/{qos} {qos} {8 + qos * 70000} text é {'x' * (qos > 0)}" for qos in range(3)]
    assert "Chrome" in told["agent"]
    g.wait_stats(websockets=1)


def test_wrong_origin(guichet, folder, bundle):
    """A page of somebody else's does not get in, whatever it says."""
    with pages(bundle=bundle, talk=(HERE / "talk.js").read_bytes()) as server:
        g = guichet(config="[mqtt]\nlisten = ws:0\nws_origins = http://other.example\n")
        a = g.at("ws4")
        query = urlencode({"broker": f"ws://{a.host}:{a.port}/", "version": "5"})
        with browser(folder, f"http://127.0.0.1:{server.server_port}/?{query}"):
            assert "error" in server.told.get(timeout=START)
    g.wait_stats(websockets_failed=1)
