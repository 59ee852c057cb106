"""Where the model runs, chosen in one place, and how a long run uses the machine."""

import ctypes
import os

import cv2
import torch

from sinet.core import ranks

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class DeviceError(ValueError):
    """The device that was asked for is not there."""


def choose_device() -> torch.device:
    """Returns a GPU where there is one, else the CPU; SINET_DEVICE (cpu, cuda, cuda:1) overrules, or DeviceError.

    The GPU is the first one, or the one of this process's number where torchrun started several.
    """
    asked = os.environ.get("SINET_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("expected cpu, cuda, cuda:1, ...")
        if device.type == "cuda" and device.index is not None and ranks.local_size() > 1:
            raise RuntimeError("expected cpu or cuda, since each process of torchrun takes a GPU of its own")
        if device.type == "cuda":
            device = torch.device("cuda", ranks.local_rank() if device.index is None else device.index)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DeviceError(f"SINET_DEVICE: {asked!r} cannot be used here: {reason}") from error
    return device


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def loader_workers(device: torch.device) -> int:
    """Returns how many processes draw pictures: a GPU needs them, on the CPU they would take the network's cores.

    The pictures do not depend on their number.
    """
    return min(8, (cores() - 1) // ranks.local_size()) if device.type == "cuda" else 0


def use_all_cores() -> None:
    """Set this process up for training: torch on every core (its share), OpenCV on one, freed memory kept.

    Set GOMP_SPINCOUNT=20000 before torch is imported as well: threads that wait awake without a limit make a
    busy machine several times slower, and threads that sleep at once an idle one 1.7 times.
    """
    torch.set_num_threads(max(1, cores() // ranks.local_size()))
    cv2.setNumThreads(1)
    # By default glibc gives every large tensor back to the kernel and asks for zeroed pages again: a sixth of
    # the time of a training step on a CPU. Where there is no glibc this is left out.
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
