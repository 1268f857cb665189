"""`python -m bench`: run all benchmarks, or the named ones: `python -m bench encode precision`."""

import sys

from bench import (
    architectures,
    capacity,
    chaos,
    encode,
    guard,
    idle,
    lag,
    load,
    migration,
    overhead,
    pipeline,
    precision,
    queries,
    relevance,
    surgery,
    vectors,
)

MEASUREMENTS = {
    "architectures": architectures.main,
    "encode": encode.main,
    "queries": queries.main,
    "precision": precision.main,
    "pipeline": pipeline.main,
    "ceiling": pipeline.main_ceiling,
    "lag": lag.main,
    "overhead": overhead.main,
    "load": load.main,
    "idle": idle.main,
    "guard": guard.main,
    "chaos": chaos.main,
    "surgery": surgery.main,
    "vectors": vectors.main,
    "migration": migration.main,
    "relevance": relevance.main,
    "capacity": capacity.main,
}


def main() -> None:
    names = sys.argv[1:] or [name for name in MEASUREMENTS if name != "surgery"]  # an hour, so only by name
    for name in names:
        if name not in MEASUREMENTS:
            sys.exit(f"no such measurement: {name}; there are {', '.join(MEASUREMENTS)}")
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main()
