"""`install.py fuzz`: what users choose, and the report."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from installer.console import say, table
from tests.fuzz.outcomes import BARE, CRASH, FINE, HANG, NAMED, Outcome
from tests.fuzz.supervisor import CASE_SECONDS, Results, supervise

TARGETS = "tests.fuzz.targets"
SHORT_SECONDS, LONG_SECONDS = 60.0, 3600.0
_KINDS = {
    FINE: "fine",
    NAMED: "named errors",
    BARE: "bare errors",
    CRASH: "crashes",
    HANG: "hangs",
}


def target_names(package: str = TARGETS) -> list[str]:
    """The targets: one for each file of a folder."""
    folder = Path(__file__).resolve().parents[2].joinpath(*package.split("."))
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def main(
    arguments: Sequence[str], package: str = TARGETS, case_seconds: float = CASE_SECONDS
) -> int:
    """Runs the targets that were chosen, one after the other, and prints what came of them.

    Args:
        arguments: Those behind `fuzz`.
        package: Where targets are.
        case_seconds: A case that takes longer hangs.

    Returns:
        0 when every case ended well or with an error of ours, otherwise 1.
    """
    options = _parsed(arguments, target_names(package))
    chosen = options.only or target_names(package)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    one = options.case is not None
    seconds = None if one else options.seconds / len(chosen)
    if not one:
        say(f"Seed {seed}: {len(chosen)} targets, {seconds:.1f} s each.")
    all_results = []
    for name in chosen:
        module = f"{package}.{name}"
        results = supervise(
            module,
            seed,
            seconds,
            cases=1 if one else None,
            first=options.case or 0,
            case_seconds=case_seconds,
        )
        all_results.append(results)
        for key, outcome in results.faults.items():
            say(_described(outcome, results.times[key], seed, whole=one))
    say(as_table(all_results))
    return int(any(results.faults for results in all_results))


def as_table(all_results: Sequence[Results]) -> str:
    """How the cases of each target ended, a row each, and of all together."""
    rows = [["target", "cases", *_KINDS.values(), "seconds"]]
    for results in all_results:
        rows.append(_row(results.target, [results]))
    if len(all_results) > 1:
        rows.append(_row("all", all_results))
    return table(rows)


def _row(label: str, all_results: Sequence[Results]) -> list[str]:
    counts = {kind: sum(each.counts[kind] for each in all_results) for kind in _KINDS}
    seconds = sum(each.seconds for each in all_results)
    numbers = [sum(counts.values()), *counts.values(), round(seconds)]
    return [label, *(f"{number:,}" for number in numbers)]


def _described(outcome: Outcome, times: int, seed: int, whole: bool) -> str:
    """A fault and the command that repeats it."""
    lines = outcome.text.strip().splitlines() or [""]
    text = outcome.text.rstrip() if whole else lines[-1 if lines[0].startswith("Traceback") else 0]
    where = f" at {outcome.place}" if outcome.place else ""
    return (
        f"{outcome.target}: {outcome.kind}, {times} times: {outcome.error}{where}\n"
        f"  {text if whole else text[:300]}\n"
        f"  python install.py fuzz --only {outcome.target} --seed {seed} --case {outcome.number}"
    )


def _parsed(arguments: Sequence[str], names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python install.py fuzz",
        description="Gives every part of the pack odd input: each case ends well or with an error "
        "that says what is wrong; whatever else comes of it is a fault.",
        epilog=f"A case is a fault if it raises any other error, ends its process, takes longer "
        f"than {CASE_SECONDS:.0f} s or more memory than it can need. Each target runs in a process "
        "of its own with caches, models and settings of its own. FASTFACE_TEST_DATA adds real "
        "networks; a case is repeated with the same.",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=_positive,
        default=SHORT_SECONDS,
        help="time for the cases of all targets together, without the start of processes; "
        "default: %(default).0f",
    )
    length.add_argument(
        "--long",
        dest="seconds",
        action="store_const",
        const=LONG_SECONDS,
        help=f"{LONG_SECONDS:.0f} s",
    )
    parser.add_argument("--seed", type=int, help="the run to make; default: a new one")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        metavar="TARGET",
        help=f"of {', '.join(names)}; default: all",
    )
    parser.add_argument(
        "--case", type=int, help="this case alone, with its whole traceback; needs --seed, --only"
    )
    options = parser.parse_args(arguments)
    if options.case is not None and (options.seed is None or len(options.only or ()) != 1):
        parser.error("--case needs --seed and --only with one target")
    return options


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text}")
    return seconds
