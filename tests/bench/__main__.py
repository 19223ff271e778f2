"""Runs the benches: ``python -m tests.bench [NAME ...] [--markdown]``.

A bench is a module ``bench_NAME.py`` beside this one, with ``run() -> list[Row]``. The exit code is 1
when a target is missed.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path

from tests.bench import report

PREFIX = "bench_"


def main() -> int:
    """Run the benches asked for, and print what they found."""
    here = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    names = [name.removeprefix(PREFIX) for name in here if name.startswith(PREFIX)]
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", choices=[[], *names], help="what to run; everything by default")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table, for the README")
    options = parser.parse_args()
    rows: list[report.Row] = []
    for name in options.names or names:
        started = time.perf_counter()
        rows += importlib.import_module(f"tests.bench.{PREFIX}{name}").run()
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(report.machine())
    if options.markdown:
        print(report.markdown(rows))
    else:
        report.show(rows)
    missed = [row.what for row in rows if not row.met]
    for what in missed:
        print(f"missed: {what}", file=sys.stderr)
    return 1 if missed else 0


sys.exit(main())
