"""Fixtures of the end-to-end tests. `guichet(...)` is what nearly all of them use; see daemon.py for what it gives."""
import pytest

from daemon import Guichet, short_folder


@pytest.fixture
def folder():
    with short_folder() as path:
        yield path


@pytest.fixture
def guichet(folder):
    """
    guichet(*WORDS, config=TEXT, ...) starts one; each is stopped after the test, and must then end with status 0, without
    a sanitizer's word, and with its data folder gone. A test that ends it otherwise does so itself: wait(), stop(), kill().
    """
    running = []

    def start(*words, **more):
        number = len(running)
        place = more.pop("folder", None) or (folder if number == 0 else folder / str(number))
        place.mkdir(exist_ok=True)
        running.append(Guichet(place, *words, **more))
        return running[-1]

    yield start
    problems = []
    for g in running:
        try:
            g.stop()
        except AssertionError as problem:
            problems.append(str(problem))
            g.kill()
    assert not problems, "\n".join(problems)
