"""Where a job computes."""

import os

import torch


def pick(name: str = "auto") -> torch.device:
    """`cpu`, `cuda`, or `auto`: a GPU where there is one. One CPU thread unless OMP_NUM_THREADS says more.

    On a GPU, float32 means float32 (no TF32), and cuDNN takes only algorithms of fixed order.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
