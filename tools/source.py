"""source.py - what the text checks of tools/ share: which files, their text without comments, how to complain.

A check is a program `tools/check-NAME [ROOT]`. It looks at the tree below ROOT (this tree unless told otherwise, which is
how tools/test-lint tries it), prints `file:line: what is wrong; what to do` for each fault, and ends with status 1 if there was one.
"""
import os
import re
import sys
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
faults = 0
notes = []


def files(*folders, suffixes=(".c", ".h")):
    """The files with these suffixes below the folders of ROOT, as paths relative to ROOT, sorted."""
    for folder in folders:
        for where, inner, names in os.walk(ROOT / folder):
            inner[:] = sorted(d for d in inner if d not in ("build", "__pycache__", "node_modules") and not d.startswith("."))
            for name in sorted(names):
                if name.endswith(suffixes):
                    yield (Path(where) / name).relative_to(ROOT)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def code(text, strings=False):
    """The text with every comment (and the inside of every literal, unless `strings`) turned into spaces; same lines."""
    def blank(match):
        token = match.group()
        if token[0] in "\"'":
            return token if strings else token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]
        return re.sub(r"[^\n]", " ", token)
    return TOKEN.sub(blank, text)


def is_test(path):
    return path.name.startswith(("test_", "fuzz_"))


def fault(path, line, message):
    global faults
    faults += 1
    print(f"{path}:{line}: {message}")


def note(path, line, message):
    notes.append(f"{path}:{line}: note: {message}")


def done():
    """Notes come last, and not at all when several checks run (tools/lint): what must be mended should not hide among them."""
    if not os.environ.get("LINT_NO_NOTES"):
        print("\n".join(notes), end="\n" if notes else "")
    sys.exit(1 if faults else 0)
