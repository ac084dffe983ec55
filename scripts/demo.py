"""The demonstration: A to E on the embedded digits, two nets at a time, then the report.

    python scripts/demo.py

While the nets train it says how many are finished and how long the others will take, and it ends
with the answer in three lines. Given again, it goes on where it was.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import repro

NETS = "EDCBA"
"""The slowest first: two nets at a time, a thread each, use two cores better than one net does."""
RUNS, REPORT = Path("runs"), Path("reports/latest")
SWEEP = [f"arch={','.join(NETS)}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "threads=1"]
NAME, EPOCHS = "{}-S256-eighth-mnist5k-quick-glorot-s0-*", 6
"""Of a net's run, by the default recipe."""


def done(net: str) -> float:
    """The share of a net's training that is done, by the epochs of its log."""
    (*found,) = RUNS.glob(NAME.format(net))
    if not found:
        return 0.0
    if (found[0] / "result.json").is_file():
        return 1.0
    log = found[0] / "log.csv"
    return (len(log.read_text().splitlines()) - 1) / EPOCHS if log.is_file() else 0.0


def work(net: str) -> int:
    """Multiply-adds of a net on one crop: how long a net takes goes by them."""
    from repro.model.cost import cost

    return cost(repro.layers(net, size="eighth", channels=1, classes=10)).multiply_adds


def watch(sweep: subprocess.Popen[bytes]) -> None:
    """Say every few seconds how far the sweep is, until it ends."""
    weights = {net: work(net) for net in NETS}
    total = sum(weights.values())
    began, said = time.monotonic(), ""
    start = sum(weights[net] * done(net) for net in NETS) / total
    while sweep.poll() is None:
        shares = {net: done(net) for net in NETS}
        share = sum(weights[net] * shares[net] for net in NETS) / total
        line = f"{sum(value == 1 for value in shares.values())} of {len(NETS)}"
        if start < share < 1:
            left = (time.monotonic() - began) * (1 - share) / (share - start)
            line += f", {left / 60:.0f} minutes left" if left >= 90 else ", a minute left"
        if line != said:
            print(line, flush=True)
            said = line
        time.sleep(2)


def answer() -> str:
    """The answer in three lines."""
    import pandas as pd

    frame = repro.results(RUNS)
    chosen = frame[(frame.protocol == "single_scale") & (frame.metric == "top1_error")]
    errors = chosen.groupby("arch").value.mean()
    nets = ", ".join(f"{net} {errors[net]:.1f}%" for net in sorted(NETS) if net in errors)
    verdicts = pd.read_csv(REPORT / "claims.csv").verdict.value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return (
        f"top-1 error on 500 digits: {nets} (one seed; another machine gives other numbers)\n"
        f"the paper's claims: {counts}; so few digits and one seed cannot decide them, and are not "
        f"meant to\nthe page: {(REPORT / 'comparison.html').resolve()}"
    )


def main() -> int:
    """Run the sweep and the report; the exit status."""
    program = [sys.executable, "-m", "repro.run", "-m", *SWEEP, f"runs={RUNS}", "progress=false"]
    sweep = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    try:
        watch(sweep)
    except KeyboardInterrupt:
        # It was sent the same signal, and saves before it ends.
        return sweep.wait()
    if sweep.returncode:
        return sweep.returncode
    report = [sys.executable, "-m", "repro.report", f"runs={RUNS}", f"out={REPORT}"]
    status = subprocess.run(report, stdout=subprocess.DEVNULL).returncode
    if status == 0:
        print(answer())
    return status


if __name__ == "__main__":
    sys.exit(main())
