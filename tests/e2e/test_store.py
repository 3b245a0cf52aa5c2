"""`guichet store`: check, dump, load, of a store that nobody serves."""
import json
import os
import shutil
import struct
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
    {"kind": "retained", "message": {"topic": "t", "payload": "\u00e9\u0000x", "properties": {"hex": "09000200ff"}, "qos": 1,
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


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def forge(file, changes):
    """Other bytes, as many, in the rows that have them; with a checksum that fits: what `load` would not write."""
    data, done = bytearray(file.read_bytes()), set()
    for page in range(0, len(data), 4096):
        flags, lower = struct.unpack_from("<HH", data, page + 10)
        for at in struct.unpack_from(f"<{(lower - 16) // 2}H", data, page + 16) if flags == 2 else ():
            n, _, flags, key_n = struct.unpack_from("<IHHH", data[page + at:page + at + 4] + b"\0\0" + data[page + at + 4:page + at + 8])
            key, value = page + at + 8, page + at + 8 + key_n
            for old, new in changes.items():
                if flags == 0 and old in data[value + 4:value + n]:
                    assert len(old) == len(new)
                    data[value + 4:value + n] = data[value + 4:value + n].replace(old, new)
                    struct.pack_into("<I", data, value, crc32c(data[key:value] + data[value + 4:value + n]))
                    done.add(old)
    assert done == set(changes)
    file.write_bytes(data)


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
    assert out.returncode == 1 and "at least 1 are lost" in out.stdout
    out = store("dump", tmp_path)
    assert out.returncode == 1 and "damaged" in out.stderr
    assert len(out.stdout.splitlines()) == len(many) - 1
    assert file.read_bytes() == data # it was only looked at


def changed(kind, **what):
    """The first record of this kind with other values; `m`, `w`: in its message, in its first waiter."""
    record = json.loads(json.dumps(next(r for r in RECORDS if r["kind"] == kind)))
    record.get("message", record.get("will", {}).get("message", {})).update(what.pop("m", {}))
    record.get("waiters", [{}])[0].update(what.pop("w", {}))
    return record | what


CANNOT_BE = [
    *((changed("subscription", filter=f), "filter") for f in ("", "a/#/b", "a#", "a\0b", {"hex": "ff"}, "/".join("x" * 300), "$share/g/f")),
    *((changed("subscription", group=g), "group") for g in ("a/b", "+", {"hex": "ff"})),
    (changed("subscription", id=268435456), "id"),
    *((changed(kind, m={"topic": t}), "message.topic") for kind in ("session", "retained", "message")
      for t in ("", "a/+", "a\0b", {"hex": "ff"}, "/".join("x" * 300))),
    *((changed(kind, m={"properties": {"hex": p}}), "message.properties") for kind in ("session", "retained", "message")
      for p in ("c0", "26000161", "230001", "0800032f612b", "0101" * 2)),
    *((changed("message", w={"ids": [7, i]}), "waiters.ids") for i in (0, -1, 268435456, 2**32 + 7, 2**62, 1.5, "7", None)),
    (changed("awaited", packet=0), "packet"),
    (changed("session", id="0"), "id"),
    (changed("message", id="0"), "id"),
]


def test_cannot_be(tmp_path):
    """Refused by its field, and nothing of it is there."""
    file = tmp_path / "bad.jsonl"
    for i, (record, field) in enumerate(CANNOT_BE):
        file.write_text(lines([RECORDS[1], record]))
        there = tmp_path / "topics" / f"m{i}"
        out = store("load", there, file)
        assert out.returncode == 1 and f"{file}: record 2: this cannot be, {field}: " in out.stderr, (record, out.stderr)
        assert store("check", there).stdout.endswith(" is sound: 0 records\n")


def test_named(tmp_path):
    """Those that are on the disk all the same: which, what is wrong with them, and what becomes of them."""
    there = tmp_path / "topics" / "mqtt"
    assert store("load", there, text=lines(RECORDS)).returncode == 0
    forge(there / "store.mdb", {b"a/#": b"#/a", b"\x09\0\2\0\xff": b"\x09\0\3\0\xff"})
    data = (there / "store.mdb").read_bytes()
    out = store("check", tmp_path)
    assert out.returncode == 1
    assert 'subscription of session 1 to "#/a" cannot be, and is dropped: filter: no topic filter\n' in out.stdout
    assert 'retained "t" cannot be, and is dropped: message.properties: packet-malformed\n' in out.stdout
    assert f"{len(RECORDS) - 2} records are good, at least 2 are lost" in out.stdout
    out = store("check", "--json", tmp_path)
    assert out.returncode == 1
    found = json.loads(out.stdout)
    assert not found["sound"] and found["dropped"] == 2 and found["records"] == len(RECORDS) - 2
    assert [w["field"] for w in found["wrong"]] == ["filter", "message.properties"]
    out = store("dump", tmp_path)
    assert out.returncode == 1 and "2 records are not in the output" in out.stderr
    assert [json.loads(line) for line in out.stdout.splitlines()] == [r for i, r in enumerate(RECORDS) if i not in (2, 6)]
    assert (there / "store.mdb").read_bytes() == data


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
    file.write_text("hello")
    bad = store("load", tmp_path / "topics" / "y", file)
    assert bad.returncode == 1 and f"{file}: record 1: it is no JSON, as `guichet store dump` writes it: " in bad.stderr


def test_says_how_much(tmp_path):
    """A file that is empty by mistake is seen, and so is what a file leaves that is wrong after its first megabyte."""
    there = tmp_path / "topics" / "x"
    assert store("load", there, text="").stdout == f"{there}: 0 records loaded\n"
    one = next(r for r in RECORDS if r["kind"] == "retained")
    large = [{**one, "message": {**one["message"], "topic": str(i), "payload": "x" * 100000}} for i in range(30)]
    bad = store("load", there, text=lines(large) + "oops\n")
    assert bad.returncode == 1 and "record 31: " in bad.stderr and f"{there} has a part of it now: " in bad.stderr
    assert "is not empty" in store("load", there, text=lines(RECORDS)).stderr
    out = store("load", tmp_path / "topics" / "y", text=lines(large))
    assert out.returncode == 0 and out.stdout.endswith("y: 30 records loaded\n")
