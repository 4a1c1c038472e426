"""A process that does one job: `python holder.py LOG` until it reads a line, or with a folder and workers."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from segtrail import processes
from segtrail.files import atomic_folder, write_text
from segtrail.joblog import job

processes.TRY_EVERY, processes.TELL_EVERY = 0.02, 0.1


def write(folder: Path, number: int) -> None:
    write_text(folder / f"{number}.txt", "whole")
    time.sleep(0.05)


if __name__ == "__main__":
    with job(sys.argv[1]) as log:
        log.info("at work")
        if len(sys.argv) == 2:
            sys.stdin.readline()
        else:
            with atomic_folder(sys.argv[2]) as folder, ProcessPoolExecutor(2) as pool:
                list(pool.map(partial(write, folder), range(2000)))
        log.info("finished")
