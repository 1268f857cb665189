"""`python -m bench`: run all measurements, or the named ones: `python -m bench encode precision`. `--help` lists the names."""

import argparse
import importlib

MEASUREMENTS = {
    "architectures": "which backend runs which model architecture",
    "encode": "documents and word pieces a second, start-up and memory of each encoder",
    "encode_gpu": "as encode, on a GPU (only by name)",
    "queries": "latency of encoding one query",
    "precision": "relevance cost of the fast mode",
    "pipeline": "throughput from a write to its vector, relative to the parts",
    "ceiling": "throughput of the pipeline with vectors that cost nothing",
    "worker": "passages a second through one worker with a stub Elasticsearch",
    "lag": "time from a write to its searchable vector, idle and during a backfill",
    "overhead": "latency and throughput of each kind of search, compared with the same legs sent directly",
    "load": "latency of ordinary searches beside hostile callers",
    "idle": "CPU time of attached indices at rest, with and without a feed",
    "feeds": "three feeds that share indices, while one is killed, added and paused",
    "leases": "two feeds that follow 160 indices with metrics on, while all of them change",
    "checkpoints": "cost of saving the positions of an index with many shards",
    "guard": "bulk throughput with and without the guard",
    "chaos": "three nodes, random writers, kills of every part; then a check of every vector (ten minutes)",
    "surgery": "random index operations and kills; then a check of every vector (an hour, only by name)",
    "vectors": "recall, latency and size of each vector type",
    "migration": "relevance of the live index during a migration",
    "relevance": "relevance of the whole stack on judged collections",
    "capacity": "deployment sizes, computed from the results of the other measurements",
}
_ONLY_BY_NAME = {"encode_gpu", "surgery"}
_IN_OTHER_MODULES = {"ceiling": ("pipeline", "main_ceiling"), "leases": ("feeds", "main_leases")}


def main() -> None:
    names = _parser().parse_args().names or [name for name in MEASUREMENTS if name not in _ONLY_BY_NAME]
    for name in names:
        module, function = function_of(name)
        getattr(importlib.import_module(f"bench.{module}"), function)()


def function_of(name: str) -> tuple[str, str]:
    """Module and function of a measurement. Modules are imported when they run: some import PyTorch."""
    return _IN_OTHER_MODULES.get(name, (name, "main"))


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, MEASUREMENTS))
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure, and write the results to bench/results. Without names, all measurements run.",
        epilog="names:\n" + "\n".join(f"  {name:<{width}}  {line}" for name, line in MEASUREMENTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", type=_measurement, help="a measurement from the list below")
    return parser


def _measurement(name: str) -> str:
    if name not in MEASUREMENTS:
        raise argparse.ArgumentTypeError(f"no measurement is called {name!r}; --help lists the names")
    return name


if __name__ == "__main__":
    main()
