"""
Power cuts: the broker's data folder is an ext4 on a disk that can be cut at any moment, afterwards and as often as one likes. What had been
acknowledged before the cut is in the store that is found then. CUTS=200 for all of it; needs root, loop devices and FUSE.
"""
import json
import os
import random
import subprocess

import pytest

from daemon import PATIENCE, PROGRAM, Address, Guichet
from powercut import Disk, mounted
from strict import Client

CUTS = int(os.environ.get("CUTS", 10))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))
SIZE = 48 << 20
CONF = """
[guichet]
data = ./guichet-data
[mqtt]
listen = unix:./m.sock
sys_interval = 0
disk = 16M
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="needs root and FUSE")


def said_to(folder, disk):
    """Runs the broker on it. [(topic, number, entries of the log when it was acknowledged)], retained ones [(topic, number, the same)]."""
    kept, retained = [], []
    g = Guichet(folder, config=CONF, test=False)
    try:
        where = lambda: Address.parse(f"unix:{folder}/m.sock").connect()
        ear = Client(where, "ear", 5).enter()
        ear.wants(("t/#", 2))
        ear.drop()
        mouth = Client(where, "mouth", 5, window=20).enter()
        number = 0
        rng = random.Random(SEED)

        def note():
            for topic, payload, *_ in mouth.acked:
                (retained if topic.startswith("r/") else kept).append((topic, int(payload.split()[0]), disk.written()))
            mouth.acked.clear()

        while number < 400:
            for _ in range(rng.randrange(1, 20)):
                if not mouth.room():
                    break
                topic = "t/%d" % (number % 3) if number % 4 else "r/%d" % (number % 5)
                mouth.publish(topic, b"%d " % number + b"x" * rng.randrange(3000), 1 + number % 2, retain=topic.startswith("r/"))
                number += 1
            before = len(mouth.going)
            mouth.until(lambda before=before: mouth.acked or len(mouth.going) < before or not mouth.going, "something is acknowledged")
            note()
        mouth.until(lambda: not mouth.going, "all is acknowledged")
        note()
        mouth.drop()
    finally:
        g.kill()
    return kept, retained


def found_in(place):
    out = subprocess.run([PROGRAM, "store", "check", "--json", str(place)], capture_output=True, text=True, timeout=PATIENCE)
    assert json.loads(out.stdout)["sound"], out.stdout
    out = subprocess.run([PROGRAM, "store", "dump", str(place)], capture_output=True, text=True, timeout=PATIENCE)
    records = [json.loads(line) for line in out.stdout.splitlines()]
    messages = [(r["message"]["topic"], int(r["message"]["payload"].split()[0])) for r in records if r["kind"] == "message"]
    retained = {r["message"]["topic"]: int(r["message"]["payload"].split()[0]) for r in records if r["kind"] == "retained"}
    return messages, retained


def test_power_cuts(folder):
    rng = random.Random(SEED)
    print(f"SEED={SEED}")
    try:
        disk = Disk(folder, SIZE).__enter__()
    except (OSError, subprocess.SubprocessError) as e:
        pytest.skip(f"no such disk here: {e}")
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.device], check=True, timeout=60)
        with mounted(disk.device, folder / "guichet-data"):
            pass
        start, base = disk.written(), bytes(disk.data)
        with mounted(disk.device, folder / "guichet-data"):
            kept, retained = said_to(folder, disk)
            end = disk.written()
    finally:
        disk.__exit__()
    first = kept[0][2]
    flushes = sum(entry is None for entry in disk.log[start:end])
    print(f"{len(kept)} kept, {len(retained)} retained, {end - start} writes and flushes ({flushes})")
    assert flushes > 10 and end > first
    image, late = folder / "image", 0
    for _ in range(CUTS):
        at = rng.randrange(first, end + 1)
        image.write_bytes(disk.cut(base, start, at, rng))
        with mounted(image, folder / "cut", "-o", "loop"):
            messages, last = found_in(folder / "cut" / "topics" / "mqtt")
        there = set(messages)
        lost = [(topic, number) for topic, number, when in kept if when <= at and (topic, number) not in there]
        assert not lost, f"cut at {at}: {lost}"
        for topic, number, when in retained:
            assert when > at or last[topic] >= number, f"cut at {at}: {topic} {number}"
        for topic in {t for t, _ in messages}:
            numbers = [n for t, n in messages if t == topic]
            assert numbers == sorted(set(numbers))
        late += len(there) - sum(when <= at for _, _, when in kept)
    print(f"{CUTS} cuts, nothing lost; {late} messages were there that were not acknowledged yet")
