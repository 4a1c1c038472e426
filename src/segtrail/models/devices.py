"""Where a job computes."""

import logging
import os

import torch

from ..errors import ConfigError


def pick(name: str, log: logging.Logger) -> torch.device:
    """`cpu`, `cuda`, or `auto`: a GPU where there is one. One CPU thread unless OMP_NUM_THREADS says more.

    On a GPU, float32 means float32 (no TF32), and cuDNN takes only algorithms of fixed order. Raises
    ConfigError where `cuda` is wanted and torch sees no GPU; with `auto` a GPU that the job was given but
    torch does not see is logged as a warning.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise ConfigError(
            f"device = 'cuda', but torch sees no GPU: {_why_no_gpu()}",
            expected="a GPU on this node, given to this job, and a torch that can use it",
            remedy="ask the scheduler for a GPU, install a CUDA build of torch there, or set device: auto",
        )
    if given := _given():
        log.warning("computes on the CPU although the job was given GPU %s: %s", given, _why_no_gpu())
    return torch.device("cpu")


def _given() -> str:
    """The GPUs that a scheduler gave this job, as CUDA reads them; empty for none."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    return "" if given in ("-1", "NoDevFiles") else given


def _why_no_gpu() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not _given():
        return "the job was given none (CUDA_VISIBLE_DEVICES), or the node has none that the driver knows"
    return f"the node's driver is missing, or too old for torch {torch.__version__}"
