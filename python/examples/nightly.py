"""Backs up a directory, with a progress bar, keeps some snapshots, and verifies them on Sundays.

    python nightly.py /home/me /backups/me
"""

import sys
from datetime import date

from tqdm import tqdm

from incremental_backups_tools import BusyError, Repository, track


def main(home: str, store: str) -> int:
    repository = Repository(store, create=True)
    try:
        with track(repository.backup, home) as task, tqdm(unit="B", unit_scale=True) as bar:
            for step in task:
                step.update(bar)
        report = task.result()
    except BusyError:
        print("another backup is at work there", file=sys.stderr)
        return 1
    for problem in report.problems:
        print(f"{problem.path}: {problem.kind}: {problem.detail}", file=sys.stderr)
    repository.prune(keep_within="7d", keep_weekly=5, keep_monthly=12)
    if date.today().isoweekday() == 7 and not repository.verify().is_sound:
        print("the store is damaged", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
