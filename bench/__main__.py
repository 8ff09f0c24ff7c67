"""`make bench`: measure the budgets.

python -m bench [--json] [NAME ...]      names are those of the modules: commands, served, ...
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from bench.figures import Figure, machine, print_table, rows
from cloudstate_core.log import configure
from cloudstate_core.settings import LogSettings

MODULES = (
    "commands",
    "host",
    "store_commit",
    "frontends",
    "served",
    "kv",
    "actions",
    "effects",
    "overload",
    "crdt",
    "crdt_types",
    "crdt_replication",
    "start",
)


def main() -> None:
    """Run the measurements that were asked for, and show what came of them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MODULES, []], help="default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    # What is measured in this process says more than anybody wants to read beside the table.
    configure(LogSettings(level="error"))
    figures: list[Figure] = []
    for name in given.names or MODULES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"bench.{name}").measure()
    if given.json:
        print(json.dumps({"machine": machine(), "figures": rows(figures)}, indent=2))
    else:
        print_table(figures)


if __name__ == "__main__":
    main()
