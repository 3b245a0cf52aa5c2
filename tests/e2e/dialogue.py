"""Reads the written dialogues of src/proto/*/cases; the form is told in tests/support/dialogue.h."""
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from daemon import ROOT

STEP = re.compile(r"(?P<who>[a-z]?)(?P<verb>[<>.])(?P<times>\d*)(?: (?P<text>.*))?")
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}


class Step(NamedTuple):
    who: str   # a, b, ...; z is the far side
    verb: str  # < and > with bytes, . with a word
    what: object
    line: int


@dataclass
class Dialogue:
    path: Path
    options: dict = field(default_factory=dict)
    clients: int = 1
    loops: int = 0
    wall: bool = False  # needs a time of day that only the memory driver has
    far: bool = False
    dgram: bool = False
    steps: list = field(default_factory=list)

    @property
    def name(self):
        return f"{self.service}-{self.path.stem}"

    @property
    def service(self):
        return self.path.parts[-3]

    @property
    def longest(self):
        return max(len(step.what) for step in self.steps if step.verb == "<") if self.says else 0

    @property
    def says(self):
        return any(step.verb == "<" for step in self.steps)

    def has(self, what):
        return any(step.what == what for step in self.steps)


def unescape(text):
    return re.sub(rb"\\(x..|.)", lambda m: ESCAPES.get(m[1].decode()) or bytes([int(m[1][1:], 16)]), text.encode())


def take_need(d, line):
    """A line of what the dialogue needs; False: it is none of these."""
    word, _, value = line.partition(" ")
    if word == "option":
        name, _, value = value.partition("=")
        d.options[name.strip()] = value.strip()
    elif word in ("clients", "loops"):
        setattr(d, word, int(value))
    elif word in ("wall", "far", "dgram"):
        setattr(d, word, True)
    else:
        return False
    return True


def load(path):
    d = Dialogue(path)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#") or (not d.steps and take_need(d, line)):
            continue
        match = STEP.fullmatch(line)
        assert match, f"{path}:{number}: {line}"
        what = match["text"] or ""
        if match["verb"] != ".":
            what = unescape(what) * int(match["times"] or 1)
        d.steps.append(Step(match["who"] or "a", match["verb"], what, number))
    assert d.steps, path
    return d


def load_all():
    return [load(path) for path in sorted((ROOT / "src/proto").glob("*/cases/*.txt"))]
