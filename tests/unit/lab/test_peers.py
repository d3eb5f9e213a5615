"""The laboratory's own peers talk to each other, and modules of Debian's Python can be lacking."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import classifier
from classifier.lab.stage import Scenario

PROGRAM = str(Path(classifier.__file__).parent / "lab" / "peers.py")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as box:
        box.bind(("127.0.0.1", 0))
        return int(box.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["game", "random", "rtp"])
def test_peers_of_datagrams_answer_each_other(kind: str) -> None:
    setup = {"address": "127.0.0.1", "port": free_port(), "seed": 1}
    setup |= {"count": 5, "rate": 60, "most": 300}
    argv = [sys.executable, "-I", PROGRAM, kind]
    with subprocess.Popen([*argv, "serve", json.dumps(setup)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            asked = [*argv, "ask", json.dumps(setup)]
            assert subprocess.run(asked, check=False, timeout=30).returncode == 0
        finally:
            server.kill()


def test_game_without_a_server_is_an_error() -> None:
    setup = {"address": "127.0.0.1", "port": free_port(), "seed": 1, "count": 0, "rate": 60}
    argv = [sys.executable, "-I", PROGRAM, "game", "ask", json.dumps(setup)]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=30)
    assert done.returncode == 1
    assert b"no answer" in done.stderr


def test_missing_module_of_python_names_its_package() -> None:
    one = Scenario("a-b", "shows", lambda _: iter(()), ("module.nosuch:python3-nosuch",))
    assert one.lacks_programs() == "apt-get install python3-nosuch"
