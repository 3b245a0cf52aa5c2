"""Fixtures of the end-to-end tests. `guichet(...)` is what nearly all of them use; see daemon.py for what it gives."""
import pytest

from daemon import Guichet, short_folder


def group_of(item):
    """What must not be tried by two at a time (xdist's loadgroup): message queues, of which a user has few; ports that are written down."""
    if "queue" in item.fixturenames or "-mq-" in item.name or (item.path.name == "test_named.py" and "queue" in item.name):
        return "queues"
    return "ports" if item.name.startswith(("test_mistakes", "test_a_user_that_nobody_is")) or item.path.name == "test_mistakes.py" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if group := group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))


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
