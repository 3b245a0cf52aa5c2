"""`guichet store`: check, dump, load, of a store that nobody serves."""
import json
import os
import shutil
import subprocess

import pytest

from daemon import PROGRAM

RECORDS = [
    {"kind": "session", "id": "1", "name": "alice", "owner": "3378429518909942365", "expiry": 60, "until": 0,
     "will": {"delay": 3, "at": 0, "message": {"topic": "w", "payload": "bye", "properties": "", "qos": 1, "retain": False, "until": 0}}},
    {"kind": "session", "id": "2", "name": {"hex": "ff00"}, "owner": "0", "expiry": 4294967295, "until": 1700000000000},
    {"kind": "subscription", "session": "1", "group": "", "filter": "a/#", "id": 7, "qos": 2, "retain_handling": 1,
     "no_local": True, "as_published": False},
    {"kind": "subscription", "session": "2", "group": "g", "filter": "s", "id": 0, "qos": 1, "retain_handling": 0, "number": 30,
     "no_local": False, "as_published": True},
    {"kind": "subscription", "session": "2", "group": "", "filter": "x/+", "id": 0, "qos": 2, "retain_handling": 0,
     "no_local": False, "as_published": False, "owed_at": "x/5"},
    {"kind": "awaited", "session": "2", "packet": 300},
    {"kind": "retained", "message": {"topic": "t", "payload": "\u00e9\u0000x", "properties": {"hex": "c0"}, "qos": 1,
                                     "retain": True, "until": 5, "from": "2"}},
    {"kind": "message", "id": "9223372036854775807",
     "message": {"topic": "a/b", "payload": "p" * 9000, "properties": "", "qos": 2, "retain": False, "until": 0},
     "waiters": [{"session": "1", "qos": 2, "retain": False, "packet": 44, "received": True, "ids": [7, 268435455]},
                 {"session": "2", "qos": 1, "retain": True, "packet": 0, "received": False, "ids": [], "alone": 30}]},
]


def store(*words, text=None, cwd=None):
    return subprocess.run([PROGRAM, "store", *map(str, words)], input=text, capture_output=True, text=True, timeout=60, cwd=cwd)


def lines(records):
    return "".join(json.dumps(r) + "\n" for r in records)


def test_there_and_back(tmp_path):
    there = tmp_path / "topics" / "mqtt"
    out = store("load", tmp_path, text=lines(RECORDS))
    assert out.returncode == 1 and "topics/NAME" in out.stderr
    assert store("load", there, text=lines(RECORDS)).returncode == 0
    assert oct(os.stat(tmp_path / "topics").st_mode)[-3:] == oct(os.stat(there).st_mode)[-3:] == "700"
    out = store("dump", tmp_path)
    assert out.returncode == 0
    assert [json.loads(line) for line in out.stdout.splitlines()] == RECORDS
    out = store("check", "--json", tmp_path / "topics")
    assert out.returncode == 0 and json.loads(out.stdout)["sound"]
    assert json.loads(out.stdout)["records"] == len(RECORDS)  # what dump prints
    again = store("load", tmp_path, text=lines(RECORDS))
    assert again.returncode == 1 and "not empty" in again.stderr


def test_which(tmp_path):
    """No path, the data folder, `topics` in it, the store itself: as long as it is clear which one."""
    data = tmp_path / "guichet-data"
    data.mkdir()
    out = store("check", cwd=tmp_path)
    assert out.returncode == 1 and "there is no store in ./guichet-data" in out.stderr
    assert store("load", data / "topics" / "mqtt", text=lines(RECORDS)).returncode == 0
    for where in [], [data], [data / "topics"], [f"{data}/topics/"], [data / "topics" / "mqtt"], ["guichet-data"]:
        out = store("check", *where, cwd=tmp_path)
        assert out.returncode == 0 and "topics/mqtt is sound" in out.stdout, where
    assert store("load", data / "topics" / "other", text=lines(RECORDS[:1])).returncode == 0
    for where in [], [data], [data / "topics"]:
        out = store("dump", *where, cwd=tmp_path)
        assert out.returncode == 1 and not out.stdout
        assert "2 stores" in out.stderr and "mqtt" in out.stderr and "other" in out.stderr
    assert len(store("dump", data / "topics" / "other").stdout.splitlines()) == 1
    (data / "topics" / "other" / "store.mdb").unlink()
    assert store("load", data / "topics" / "other", text=lines(RECORDS[:2])).returncode == 0
    assert len(store("dump", data / "topics" / "other").stdout.splitlines()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_of_the_user_that_serves(tmp_path):
    (tmp_path / "topics").mkdir(mode=0o700)
    os.chown(tmp_path / "topics", 65534, 65534)
    there = tmp_path / "topics" / "mqtt"
    assert store("load", there, text=lines(RECORDS)).returncode == 0
    assert {os.stat(there / name).st_uid for name in (".", "lock", "store.mdb")} == {65534}


def test_damaged(tmp_path):
    there = tmp_path / "topics" / "mqtt"
    retained = next(r for r in RECORDS if r["kind"] == "retained")
    many = RECORDS + [dict(retained, message=dict(retained["message"], topic=f"t/{i}")) for i in range(500)]
    assert store("load", there, text=lines(many)).returncode == 0
    file = there / "store.mdb"
    data = bytearray(file.read_bytes())
    at = data.rindex(b"t/77")
    data[at] ^= 4
    file.write_bytes(data)
    out = store("check", tmp_path)
    assert out.returncode == 1 and "1 are lost" in out.stdout
    out = store("dump", tmp_path)
    assert out.returncode == 1 and "damaged" in out.stderr
    assert len(out.stdout.splitlines()) == len(many) - 1
    assert file.read_bytes() == data # it was only looked at


def test_numbers_may_be_numbers(tmp_path):
    """As older dumps have them."""
    def old(record):
        return {name: int(value) if name in ("id", "session", "owner", "from") and isinstance(value, str)
                else old(value) if isinstance(value, dict)
                else [old(each) if isinstance(each, dict) else each for each in value] if isinstance(value, list)
                else value for name, value in record.items()}
    assert store("load", tmp_path / "topics" / "x", text=lines(map(old, RECORDS))).returncode == 0
    assert [json.loads(line) for line in store("dump", tmp_path).stdout.splitlines()] == RECORDS


@pytest.mark.skipif(not shutil.which("jq"), reason="there is no jq")
def test_through_jq(tmp_path):
    """It rounds what is past 2^53: a session with another owner would be lost to its client."""
    (tmp_path / "again").mkdir()
    assert store("load", tmp_path / "topics" / "x", text=lines(RECORDS)).returncode == 0
    dump = store("dump", tmp_path).stdout
    jq = subprocess.run(["jq", "-c", "."], input=dump, capture_output=True, text=True, check=True, timeout=60).stdout
    assert store("load", tmp_path / "again" / "topics" / "x", text=jq).returncode == 0
    assert store("dump", tmp_path / "again").stdout == dump


@pytest.mark.parametrize("number", ['"-1"', '"1x"', '""', '"9223372036854775808"', "9223372036854775808", "1.5", '"1\\u0000"', "null"])
def test_no_numbers(tmp_path, number):
    bad = store("load", tmp_path / "topics" / "x", text='{"kind": "awaited", "session": %s, "packet": 1}' % number)
    assert bad.returncode == 1 and "record 1" in bad.stderr


def test_mistakes(tmp_path):
    assert store().returncode == 2
    assert store("frobnicate").returncode == 2
    assert store("check", tmp_path).returncode == 1
    bad = store("load", tmp_path / "topics" / "x", text=lines(RECORDS[:1]) + '{"kind": "retained"}\n')
    assert bad.returncode == 1 and "standard input: record 2: " in bad.stderr
    file = tmp_path / "bad.jsonl"
    file.write_text("{}")
    bad = store("load", tmp_path / "topics" / "y", file)
    assert bad.returncode == 1 and f"{file}: record 1: it is no record" in bad.stderr
