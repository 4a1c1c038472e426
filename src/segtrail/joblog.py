"""What every job does around its work: a log file, and errors of the user's data told in one screen."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SegtrailError


@contextmanager
def job(log: str | Path) -> Iterator[logging.Logger]:
    """Logs to `log` and to standard error; a SegtrailError ends the job with its text alone, status 1."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("segtrail")
    logger.setLevel(logging.INFO)
    formatter = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [logging.FileHandler(log, mode="a", encoding="utf-8"), screen]
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    try:
        yield logger
    except SegtrailError as error:
        logger.error("stopped:\n%s", error)
        raise SystemExit(1) from None
    except Exception:
        # A bug: the traceback belongs in the log as well as on the screen.
        logging.getLogger("segtrail.bug").exception("unexpected error")
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
