"""One or more Elasticsearch nodes as background processes."""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from esblend.local.distribution import find_distribution, install_elasticsearch
from esblend.local.java import find_java
from esblend.local.paths import elasticsearch_user
from esblend.local.processes import Launched, launch


@dataclass(frozen=True)
class Node:
    name: str
    http_port: int
    transport_port: int


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str


def new_credentials() -> Credentials:
    return Credentials("admin", secrets.token_urlsafe(18))


_FIRST_HEAP_MB = 256
_SHORT_LIVED = "-Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Options of the JVMs that start the server. They run for a second, too short for compiled code to pay off."""


def start_node(
    node: Node, nodes: Sequence[Node], *, version: str, directory: Path, credentials: Credentials | None, heap_mb: int
) -> Launched:
    """Start one node of the cluster `nodes`; its files are in `directory/<name>`, its output in `.../logs/stdout.log`."""
    distribution = find_distribution(version)
    home = install_elasticsearch(distribution)
    java = find_java(distribution.oldest_java, distribution.newest_java)
    user = elasticsearch_user()
    node_folder = directory / node.name
    config = node_folder / "config"
    fresh = not (node_folder / "data").exists()
    for folder in (config, node_folder / "data", node_folder / "logs", node_folder / "snapshots", node_folder / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(home / "config", config, dirs_exist_ok=True)
    (config / "elasticsearch.yml").write_text(
        _configuration(node, nodes, node_folder, credentials, first_start=fresh), "utf-8"
    )
    # Without this, all nodes write one garbage-collection log in the shared home.
    options = (home / "config" / "jvm.options").read_text("utf-8").splitlines()
    (config / "jvm.options").write_text("\n".join(o for o in options if "-Xlog:gc" not in o) + "\n", "utf-8")
    if credentials:
        _write_file_realm(config, credentials)
    if user:
        _give_to(node_folder, *user)
    env = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "ES_HOME": str(home),
        "ES_PATH_CONF": str(config),
        "ES_DISTRIBUTION_TYPE": "tar",
        "ES_TMPDIR": str(node_folder / "tmp"),
        "JAVA_TYPE": "ES_JAVA_HOME",
        "ES_JAVA_HOME": str(java.home),
        "JAVA": str(java.executable),
        "ES_JAVA_OPTS": java_options(heap_mb, os.environ),
        "CLI_JAVA_OPTS": _SHORT_LIVED,
    }
    command = _command(distribution.version, java.executable, home, config)
    return launch(command, log=node_folder / "logs" / "stdout.log", env=env, cwd=home, user=user)


def java_options(heap_mb: int, environment: Mapping[str, str]) -> str:
    """Options of the JVM: the heap's limits, and the caller's `ES_JAVA_OPTS`, which take precedence."""
    # The heap grows on demand: other programs of a laptop need memory too.
    heap = f"-Xms{min(heap_mb, _FIRST_HEAP_MB)}m -Xmx{heap_mb}m"
    return f"{heap} {environment.get('ES_JAVA_OPTS', '')}".rstrip()


def _command(version: str, java: Path, home: Path, config: Path) -> list[str]:
    small = [str(java), *_SHORT_LIVED.split()]
    if version.startswith("8."):
        return [
            *small,
            "-Dcli.name=server",
            f"-Dcli.script={home}/bin/elasticsearch",
            "-Dcli.libs=lib/tools/server-cli",
            f"-Des.path.home={home}",
            f"-Des.path.conf={config}",
            "-Des.distribution.type=tar",
            "-Des.java.type=ES_JAVA_HOME",
            "-cp",
            f"{home}/lib/*:{home}/lib/cli-launcher/*",
            "org.elasticsearch.launcher.CliToolLauncher",
        ]
    return [*small, "-cp", f"{home}/lib/tools/server-launcher/*", "org.elasticsearch.server.launcher.ServerLauncher"]


def _configuration(
    node: Node, nodes: Sequence[Node], node_folder: Path, credentials: Credentials | None, *, first_start: bool
) -> str:
    lines = [
        "cluster.name: esblend-local",
        f"node.name: {node.name}",
        "network.host: 127.0.0.1",
        f"http.port: {node.http_port}",
        f"transport.port: {node.transport_port}",
        f'path.data: "{node_folder / "data"}"',
        f'path.logs: "{node_folder / "logs"}"',
        f'path.repo: "{node_folder / "snapshots"}"',
        f"xpack.security.enabled: {str(credentials is not None).lower()}",
        # A laptop's disk is often fuller than Elasticsearch's defaults allow.
        "cluster.routing.allocation.disk.threshold_enabled: false",
    ]
    if credentials:
        lines += ["xpack.security.enrollment.enabled: false", "xpack.security.http.ssl.enabled: false"]
        lines += ["xpack.security.transport.ssl.enabled: false"]
    if len(nodes) == 1:
        lines.append("discovery.type: single-node")
    else:
        lines.append(
            "discovery.seed_hosts: [" + ", ".join(f'"127.0.0.1:{peer.transport_port}"' for peer in nodes) + "]"
        )
        if first_start:
            lines.append("cluster.initial_master_nodes: [" + ", ".join(peer.name for peer in nodes) + "]")
    return "\n".join(lines) + "\n"


def _write_file_realm(config: Path, credentials: Credentials) -> None:
    import bcrypt

    # Elasticsearch accepts bcrypt's prefix $2a$, not Python's $2b$; the algorithm is the same.
    hashed = bcrypt.hashpw(credentials.password.encode(), bcrypt.gensalt(10)).decode().replace("$2b$", "$2a$", 1)
    for name, line in (
        ("users", f"{credentials.username}:{hashed}"),
        ("users_roles", f"superuser:{credentials.username}"),
    ):
        file = config / name
        file.write_text(line + "\n", "utf-8")
        file.chmod(0o600)


def _give_to(node_folder: Path, uid: int, gid: int) -> None:
    for parent in (node_folder.parent, node_folder.parent.parent):
        parent.chmod(0o755)
    for path in (node_folder, *node_folder.rglob("*")):
        os.chown(path, uid, gid)
