"""The learning rate as a pure function of the step, so that a resumed run has nothing to restore."""

import math

from sinet.core.recipe import Cosine, Poly, Schedule, Steps


def rate_factor(schedule: Schedule, step: int, steps_an_epoch: int, epochs: int) -> float:
    """What the learning rate is multiplied by (0..1) in step 0, 1, ... of a phase of `epochs` epochs."""
    warmup = round(schedule.warmup * steps_an_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, epochs * steps_an_epoch - warmup))
    match schedule:
        case Poly(power=power):
            return float((1 - done) ** power)
        case Cosine():
            return (1 + math.cos(math.pi * done)) / 2
        case Steps(milestones=milestones, factor=factor):
            return factor ** sum(step // steps_an_epoch >= milestone for milestone in milestones)
