"""What is wrong with the samples of a run where the host is to draw them."""

from __future__ import annotations

from pivotal.config.sections.output import Samples
from pivotal.hosts.drawing import Drawing
from pivotal.hosts.protocol import Host

SHOWN = 8  # of the host's samplers, in an error


def drawing_problems(samples: Samples, host: Host) -> dict[str, str]:
    """What is wrong with the host's drawing, where it is asked for, by key."""
    if samples.through != "the host":
        return {}
    if not isinstance(host, Drawing):
        return {"samples.through": f"the samplers of this host ({host.name}) cannot draw with a model in training; only "
                                   "AUTOMATIC1111's can. Take ours."}
    names = host.samplers()
    if samples.host_sampler and samples.host_sampler not in names:
        return {"samples.host_sampler": f"the WebUI has no sampler {samples.host_sampler!r}; it has {', '.join(names[:SHOWN])} "
                                        f"and {max(len(names) - SHOWN, 0)} more."}
    return {}
