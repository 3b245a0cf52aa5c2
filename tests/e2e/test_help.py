"""Help is made from the tables that make the program work: whatever can be written can be asked for."""
import json
import re
import subprocess

import pytest

from daemon import ROOT, run

PROTOCOLS = sorted(path.name for path in (ROOT / "src/proto").iterdir() if (path / f"{path.name}.c").exists())
COMMANDS = ["serve", "check", "reload", "stats", "user", "import", "store", "connect", "pub", "sub", "help"]


def helped(*words):
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    if not {"--man", "--completion", "--json"} & set(words):
        assert not [line for line in done.stdout.splitlines() if len(line) > 80], "too wide for a terminal"
    return done.stdout


def test_overview():
    text = helped("--help")
    assert text == helped("-h")
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", text, re.M)
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", text)


def test_version():
    version = (ROOT / "VERSION").read_text().strip()
    assert helped("--version") == helped("-V") == f"guichet {version}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command):
    text = helped(command, "--help")
    assert text.startswith(f"Usage: guichet {command} ") and "Exit status: 0 " in text and "--help" in text
    assert text == helped("help", command)
    if command not in {"pub", "sub"}:  # of mosquitto's clients -h is the host
        assert text == helped(command, "-h")


@pytest.mark.parametrize("command", COMMANDS)
def test_only_its_own_options(command):
    """What the text of a command names is an option of it."""
    text = re.sub(r"mosquitto_[ps]ub, without [^;]*;", "", helped("help", command))
    for option in re.findall(r"(?<=[ (])-[A-Za-z]\b", text):
        assert re.search(rf"^  .*{option}\b", text, re.M), option


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_service(protocol):
    """A page for each, and for each of its options."""
    text = helped("help", protocol)
    assert text.startswith(f"{protocol} - ") and f"[{protocol}]" in text
    for option in re.findall(r"^  (\w+) = ", text.split("Options:")[1], re.M) if "Options:" in text else []:
        assert re.match(rf"{option} = .+\n  \w", helped("help", protocol, option))


def test_option():
    assert helped("help", "echo", "upper") == "upper = yes|no\n  sends each line back in capitals (default no)\n"
    assert helped("help", "echo", "idle").startswith("idle = TIME\n")  # one that every service has
    assert helped("help", "idle").startswith("[every service] idle = TIME\n")
    assert helped("help", "guichet", "loops").startswith("loops = NUMBER\n")


@pytest.mark.parametrize("topic", ["addresses", "guichet", "limits", "models", "options", "rules", "tls"])
def test_topic(topic):
    assert re.search(rf"^  {topic} ", helped("help"), re.M)
    assert len(helped("help", topic).splitlines()) > 3


def test_options_of_sections():
    """By all names that they may be asked for."""
    page = helped("help", "mqtt", "bridge")
    assert page == helped("help", "bridge") and page.startswith("[SERVICE.bridge.NAME] - ")
    assert helped("help", "topics") == "[mqtt.bridge.NAME] " + helped("help", "bridge", "topics")
    assert helped("help", "mqtt", "bridge", "topics") == helped("help", "bridge", "topics")
    assert helped("help", "queue_full").startswith("[mqtt] queue_full = drop|refuse\n")
    options = re.findall(r"^  (\w+(?= = )|\[SERVICE.*\])", helped("help", "mqtt").split("Options:")[1], re.M)
    assert options[-1] == "[SERVICE.bridge.NAME]"


def test_json():
    found = json.loads(run("help", "--json").stdout)
    assert [command["name"] for command in found["commands"]] == COMMANDS
    assert {service["name"] for service in found["services"]} == set(PROTOCOLS)


def test_completion():
    """The shell understands it, and offers commands and services."""
    script = run("help", "--completion").stdout
    done = subprocess.run(["bash", "-c", script + """
        COMP_WORDS=(guichet se) COMP_CWORD=1 COMP_LINE='guichet se' COMP_POINT=10
        _guichet guichet se guichet
        echo "${COMPREPLY[@]}" """], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", ["serve"])


def test_manual_page():
    page = run("help", "--man").stdout
    assert page.startswith((".TH", '.\\"', "'\\\"")) and all(f"guichet {command}" in page for command in COMMANDS)
