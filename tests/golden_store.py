"""The golden store: twenty small real runs in one file, and the report that they render to.

python -m tests.golden_store     render the report anew, to be reviewed and committed
"""

import atexit
import os
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
TEXTS = ("comparison.md", "results.csv", "claims.csv")


@cache
def golden_runs() -> Path:
    """The folder `runs` of the golden store, unpacked for this process."""
    folder = Path(tempfile.mkdtemp(prefix="golden-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(GOLDEN / "runs.zip") as archive:
        archive.extractall(folder)
    return folder / "runs"


def texts(report: Path) -> dict[str, str]:
    """What of a report is compared."""
    return {name: (report / name).read_text(encoding="utf-8") for name in TEXTS}


if __name__ == "__main__":
    from repro.report.write import write

    # Commands in the report name the store where it is not `runs`.
    os.chdir(golden_runs().parent)
    write([Path("runs")], Path("report"))
    for name, text in texts(Path("report")).items():
        (GOLDEN / "report" / name).write_text(text, encoding="utf-8")
