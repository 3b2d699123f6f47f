"""Reference numbers of how the network learns, from PyTorch in float64: AdamW, cosine schedule, averaged weights, soft
targets, re-estimated batch statistics.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python learning.py > learning.json

Network, weights and inputs are those of generate.py.
"""

import json
import sys

import numpy as np
import torch
import torch.nn.functional as F

from generate import BATCH, CLASSES, batch, digest, forward, parameters, unit

RATE, WARMUP, TOTAL, FLOOR = 0.002, 4, 40, 0.1
BETAS, DECAY, KEEP = (0.9, 0.999), 0.05, 0.9
# Of the network: gradients below the noise of float32 must not decide the direction of a step.
EPSILON, STEPS = 1e-3, 6
SMOOTHING, WEIGHTS, OWN = 0.1, [0.5, 1.0, 1.5, 0.75, 1.25, 2.0, 0.25], 0.7
N_VALUES, N_STEPS = 24, 20


def schedule(optimiser):
    up = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0 / WARMUP, 1.0, WARMUP - 1)
    down = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, TOTAL - WARMUP, FLOOR * RATE)
    return torch.optim.lr_scheduler.SequentialLR(optimiser, [up, down], [WARMUP])


def adamw(kernels, others, epsilon):
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=epsilon)


def share(n):
    """Of the weights after step n, from 1, in a mean whose weights fall by KEEP and sum to 1."""
    return (1.0 - KEEP) / (1.0 - KEEP**n)


def values():
    """20 steps of a kernel and a bias with gradients of a recipe."""
    kernel, bias = (torch.tensor((unit(seed, N_VALUES) - 0.5).astype(np.float32).astype(np.float64)) for seed in (1, 2))
    average = [torch.zeros_like(kernel), torch.zeros_like(bias)]
    optimiser = adamw([kernel], [bias], 1e-8)
    courses, rates = schedule(optimiser), []
    for step in range(TOTAL):
        rates.append(optimiser.param_groups[0]["lr"])
        if step < N_STEPS:
            for seed, tensor in ((100, kernel), (200, bias)):
                tensor.grad = torch.tensor((unit(seed + step, N_VALUES) - 0.3).astype(np.float32).astype(np.float64))
            optimiser.step()
            for mean, tensor in zip(average, (kernel, bias)):
                mean.lerp_(tensor, share(step + 1))
        else:
            kernel.grad = bias.grad = None
            optimiser.step()
        courses.step()
        if step == N_STEPS - 1:
            state = [optimiser.state[tensor] for tensor in (kernel, bias)]
            result = {"kernel": kernel.tolist(), "bias": bias.tolist(),
                      "first": state[0]["exp_avg"].tolist(), "second": state[0]["exp_avg_sq"].tolist(),
                      "average": average[0].tolist()}
    return {"rates": rates, **result}


def network():
    p = parameters()
    trained = [name for name in p if "moving" not in name]
    for name in trained:
        p[name].requires_grad_(True)
    optimiser = adamw([p[n] for n in trained if n.endswith("kernel")],
                      [p[n] for n in trained if not n.endswith("kernel")], EPSILON)
    courses, losses, average = schedule(optimiser), [], {name: torch.zeros_like(p[name]) for name in trained}
    first_gradients = []
    for step in range(STEPS):
        log_mel, labels = batch(step)
        # Each of the two with the other, in the numbers that float32 has.
        log_mel = (OWN * log_mel + (1.0 - OWN) * log_mel.flip(0)).float().double()
        shares = F.one_hot(labels, CLASSES).double()
        shares = OWN * shares + (1.0 - OWN) * shares.flip(0)
        optimiser.zero_grad()
        loss = F.cross_entropy(forward(p, log_mel, []), shares, weight=torch.tensor(WEIGHTS, dtype=torch.float64),
                               label_smoothing=SMOOTHING)
        loss.backward()
        losses.append(loss.item())
        for name in trained:
            # A bias before batch norm has no gradient; what is left of rounding would be a step of full size.
            if name.startswith("block") and name.endswith("bias"):
                p[name].grad.zero_()
        if step == 0:
            first_gradients = [digest(name, p[name].grad) for name in trained]
        optimiser.step()
        courses.step()
        with torch.no_grad():
            for name in trained:
                average[name].lerp_(p[name], share(step + 1))
    weights = {name: average.get(name, p[name]).detach() for name in p}
    sums = None
    with torch.no_grad():
        for step in range(3):
            moving = []
            forward(weights, batch(20 + step)[0], moving)
            found = [(mean, mean * mean + variance) for mean, variance in moving]
            sums = found if sums is None else [(a + c, b + d) for (a, b), (c, d) in zip(sums, found)]
        for index, (mean, square) in enumerate(sums):
            weights[f"block{index + 1}.moving_mean"] = mean / 3
            weights[f"block{index + 1}.moving_variance"] = square / 3 - (mean / 3) ** 2
        probabilities = F.softmax(forward(weights, batch(30)[0]), dim=1).reshape(-1).tolist()
    return {"losses": losses, "gradients": first_gradients,
            "average": [digest(name, weights[name]) for name in trained],
            "population": [digest(name, weights[name]) for name in p if "moving" in name],
            "probabilities": probabilities}


def main():
    assert BATCH == 2
    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": np.__version__}
    result = {"made_with": versions, "values": values(), "network": network()}
    print(json.dumps(result, separators=(",", ":")).replace('{"name"', '\n{"name"').replace('"network"', '\n"network"'))


if __name__ == "__main__":
    main()
