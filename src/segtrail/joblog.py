"""What every job does around its work: a log, a lock, and errors of the user's data told in one screen."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SegtrailError
from .files import needing_room
from .processes import TERMINATED, alone, leaving_on_sigterm, myself, named

FORMAT = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")


@contextmanager
def job(log: str | Path) -> Iterator[logging.Logger]:
    """Logs to `log` and, from warnings on, to standard error; waits for another process that does this job.

    The lock lies beside the log and has its name, which is the job's own. A SegtrailError ends the job with
    its text alone, status 1; SIGTERM ends it with status 143.
    """
    log = Path(log)
    logger = logging.getLogger("segtrail")
    logger.setLevel(logging.INFO)
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = []
    try:
        _add(screen, handlers, logger)
        with leaving_on_sigterm():
            with needing_room(log):
                log.parent.mkdir(parents=True, exist_ok=True)
                _add(_LogFile(log, mode="a", encoding="utf-8"), handlers, logger)
            requeued = os.environ.get("SLURM_RESTART_COUNT", "0")
            logger.info("%s%s", named(myself()), f", requeued {requeued} times" if requeued != "0" else "")
            with alone(log.with_suffix(".lock"), logger):
                yield logger
    except SegtrailError as error:
        logger.error("stopped:\n%s", error)
        raise SystemExit(1) from None
    except SystemExit as leaving:
        if leaving.code == TERMINATED:
            logger.warning("stopped by SIGTERM")
        raise
    except Exception:
        # A bug: the traceback belongs in the log as well as on the screen.
        logging.getLogger("segtrail.bug").exception("unexpected error")
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _add(handler: logging.Handler, handlers: list[logging.Handler], logger: logging.Logger) -> None:
    handler.setFormatter(FORMAT)
    handlers.append(handler)
    logger.addHandler(handler)


class _LogFile(logging.FileHandler):
    """Says in one line what could not be written, on a full disk say; the errors are on the screen too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        self._tell(sys.exc_info()[1])

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        print(f"segtrail: {self.baseFilename}: {error}", file=sys.stderr)
