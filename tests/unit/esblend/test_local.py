"""The one-machine stack's parts that need no server."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from esblend.errors import LocalStackError
from esblend.local.distribution import find_distribution
from esblend.local.elasticsearch import java_options
from esblend.local.java import no_java_message, read_java
from esblend.local.ports import FreePorts
from esblend.local.processes import family, find, launch, stop
from esblend.local.stack import StackOptions, _plan
from esblend.settings import Settings


def jdk(home: Path, version: str, modules: str | None) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text("#!/bin/sh\n")
    (home / "bin" / "java").chmod(0o755)
    lines = [f'JAVA_VERSION="{version}"'] + ([f'MODULES="{modules}"'] if modules is not None else [])
    (home / "release").write_text("\n".join(lines))
    return home


def test_a_jdk_is_known_by_its_release_file(tmp_path: Path) -> None:
    java = read_java(jdk(tmp_path / "25", "25.0.3", "java.base jdk.incubator.vector jdk.jlink"))
    assert java is not None
    assert java.major == 25
    assert read_java(jdk(tmp_path / "runtime", "25.0.3", "java.base")) is None
    assert read_java(jdk(tmp_path / "nameless", "21.0.1", None)) is None
    assert read_java(tmp_path / "none") is None
    old = read_java(jdk(tmp_path / "8", "1.8.0_292", "jdk.incubator.vector jdk.jlink"))
    assert old is not None
    assert old.major == 8


def test_without_java_all_the_ways_out_are_told() -> None:
    message = no_java_message(21, 99)
    for remedy in ("ES_JAVA_HOME", "ESBLEND_ES_URL", "docker compose up"):
        assert remedy in message


def test_versions_may_be_shortened_and_unknown_ones_are_listed() -> None:
    assert find_distribution("8.16").version == "8.16.6"
    assert find_distribution("9.4.3").version == "9.4.3"
    with pytest.raises(LocalStackError, match=r"9\.4\.3, 8\.16\.6"):
        find_distribution("7.17")


def test_options_of_the_caller_follow_the_heap_so_that_they_take_precedence() -> None:
    assert java_options(1024, {}) == "-Xms256m -Xmx1024m"
    assert java_options(1024, {"ES_JAVA_OPTS": "-Xmx4g"}) == "-Xms256m -Xmx1024m -Xmx4g"


def test_busy_ports_are_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        with FreePorts() as ports:
            assert ports.choose(busy) != busy
    with FreePorts() as ports:
        assert ports.choose(busy) == busy


def test_a_port_that_is_not_the_usual_one_is_announced() -> None:
    warnings: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        options = StackOptions(es="http://127.0.0.1:9", redis="redis://127.0.0.1:9/0")
        with FreePorts() as ports:
            planned = _plan(options, Settings(gateway_port=busy), None, ports, warnings.append)
    assert warnings == [f"Port {busy} is in use, so the gateway has port {planned.gateway.rpartition(':')[2]}."]


def test_a_port_stays_reserved_while_its_server_starts(tmp_path: Path) -> None:
    """Another process gets another port, and the same one once the first process is done."""
    code = (
        "import sys; from pathlib import Path; from esblend.local.ports import FreePorts\n"
        "with FreePorts(Path(sys.argv[1])) as ports: print(ports.choose(int(sys.argv[2])))"
    )

    def choose_elsewhere(port: int) -> int:
        chosen = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(port)], capture_output=True, text=True, check=True
        )
        return int(chosen.stdout)

    with FreePorts(tmp_path) as ports:
        port = ports.choose(0)
        ports.let_servers_listen()
        assert choose_elsewhere(port) != port
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
            server.listen()
    assert choose_elsewhere(port) == port


def test_no_port_is_chosen_twice() -> None:
    with FreePorts() as ports:
        chosen = [ports.choose(0) for _ in range(200)]
        assert len(set(chosen)) == 200
        assert ports.choose(chosen[0]) not in chosen


def test_a_process_is_known_by_its_birth_and_ended_with_its_family(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(600)"
    code = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{sleep}']); print('up', flush=True); {sleep}"
    )
    log = tmp_path / "log"
    process = launch([sys.executable, "-c", code], log=log, env={}, cwd=tmp_path)
    while "up" not in log.read_text():
        assert find(process)
    assert len(family(process)) == 2
    assert find(process.model_copy(update={"created": process.created - 100})) is None
    stop([process], grace_seconds=5)
    assert find(process) is None
    assert family(process) == []
