"""Reference numbers of the network from PyTorch in float64: gradients, ten SGD losses, predictions.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python generate.py > paper_batch_2.json

Weights and inputs follow a recipe of integer arithmetic (SplitMix64) that the Rust test repeats, so only results are
stored. Dropout is off. Batch norm is written out because PyTorch's moving variance is the unbiased one, Keras' is not.
"""

import json
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

N_MELS, N_FRAMES, WINDOW, HOP, N_WINDOWS = 128, 508, 128, 64, 6
BLOCKS = [(64, 2), (64, 4), (128, 4), (128, 4)]
UNITS, CLASSES, BATCH, STEPS = 256, 7, 2, 10
EPSILON, KEEP = float(np.float32(1e-3)), float(np.float32(0.99))
# A small rate: with 0.01 and batches of 2, float32 and float64 runs of PyTorch itself part by 1e-3 within ten steps.
RATE, MOMENTUM, DECAY = 0.001, 0.8, 0.05
N_SAMPLES = 20


def unit(seed, n):
    """Value i of a seed, uniform in [0, 1): `Seed::unit`."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def shapes():
    maps = 1
    for index, (n_maps, _) in enumerate(BLOCKS):
        yield f"block{index + 1}.kernel", (3, 3, maps, n_maps)
        for part in ("bias", "gamma", "beta", "moving_mean", "moving_variance"):
            yield f"block{index + 1}.{part}", (n_maps,)
        maps = n_maps
    yield "lstm.kernel", (maps, 4 * UNITS)
    yield "lstm.recurrent_kernel", (UNITS, 4 * UNITS)
    yield "lstm.bias", (4 * UNITS,)
    yield "dense.kernel", (UNITS, CLASSES)
    yield "dense.bias", (CLASSES,)


def parameters():
    tensors = {}
    for index, (name, shape) in enumerate(shapes()):
        n = math.prod(shape)
        u, i, part = unit(1000 + index, n), np.arange(n), name.split(".")[1]
        if part in ("kernel", "recurrent_kernel"):
            taps = math.prod(shape[:-2])
            values = (2.0 * u - 1.0) * math.sqrt(6.0 / (taps * (shape[-2] + shape[-1])))
        elif part == "gamma":
            values = np.where(i % 5 == 1, -1.0, 1.0) * (0.8 + 0.4 * u)
        elif part == "moving_mean":
            values = np.zeros(n)
        elif part == "moving_variance":
            values = np.ones(n)
        else:
            values = 0.2 * (u - 0.5) + (1.0 if name == "lstm.bias" else 0.0) * ((i >= UNITS) & (i < 2 * UNITS))
        tensors[name] = torch.tensor(values.astype(np.float32).astype(np.float64).reshape(shape))
    return tensors


def batch(step):
    u = unit(500 + step, 4 * BATCH * N_MELS * N_FRAMES).reshape(-1, 4)
    values = -8.0 + 5.0 * (u[:, 0] + u[:, 1] + u[:, 2] + u[:, 3] - 2.0)
    values = values.astype(np.float32).astype(np.float64).reshape(BATCH, N_MELS, N_FRAMES)
    return torch.tensor(values), torch.tensor([(step + 3 * recording) % CLASSES for recording in range(BATCH)])


def forward(p, log_mel, moving=None):
    """Logits; `moving` collects (mean, biased variance) per block, or is None to use the moving statistics."""
    x = torch.stack([log_mel[:, :, w * HOP : w * HOP + WINDOW] for w in range(N_WINDOWS)], dim=1)
    x = x.reshape(-1, 1, N_MELS, WINDOW)
    for index, (_, pool) in enumerate(BLOCKS):
        get = lambda part: p[f"block{index + 1}.{part}"]
        x = F.conv2d(x, get("kernel").permute(3, 2, 0, 1), get("bias"), padding=1)
        if moving is None:
            mean, variance = get("moving_mean"), get("moving_variance")
        else:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            moving.append((mean.detach(), variance.detach()))
        gamma, beta = get("gamma")[:, None, None], get("beta")[:, None, None]
        x = (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + EPSILON) * gamma + beta
        x = F.max_pool2d(F.elu(x), pool)
    x = x.permute(0, 2, 3, 1).reshape(log_mel.shape[0], N_WINDOWS, -1)
    cell = torch.nn.LSTMCell(x.shape[2], UNITS, dtype=torch.float64)
    weights = {"weight_ih": p["lstm.kernel"].T, "weight_hh": p["lstm.recurrent_kernel"].T,
               "bias_ih": p["lstm.bias"], "bias_hh": torch.zeros(4 * UNITS, dtype=torch.float64)}
    state = (torch.zeros(x.shape[0], UNITS, dtype=torch.float64),) * 2
    for step in range(N_WINDOWS):
        state = torch.func.functional_call(cell, weights, (x[:, step], state))
    return state[0] @ p["dense.kernel"] + p["dense.bias"]


def digest(name, values):
    flat = values.detach().reshape(-1)
    places = sorted({int(k) for k in unit(7, N_SAMPLES) * flat.numel()})
    return {"name": name, "sum": flat.sum().item(), "norm": flat.norm().item(), "largest": flat.abs().max().item(),
            "samples": [[k, flat[k].item()] for k in places]}


def main():
    p = parameters()
    trained = [name for name in p if "moving" not in name]
    velocity = {name: torch.zeros_like(p[name]) for name in trained}
    losses, gradients, early = [], [], []
    for step in range(STEPS):
        for name in trained:
            p[name].requires_grad_(True)
        log_mel, labels = batch(step)
        moving = []
        loss = F.cross_entropy(forward(p, log_mel, moving), labels)
        grads = dict(zip(trained, torch.autograd.grad(loss, [p[name] for name in trained])))
        losses.append(loss.item())
        if step == 0:
            gradients = [digest(name, grads[name]) for name in trained]
        with torch.no_grad():
            for name in trained:
                velocity[name] = MOMENTUM * velocity[name] - RATE / (1.0 + DECAY * step) * grads[name]
                p[name] = (p[name] + velocity[name]).detach()
            if step == 1:
                early = [digest(name, velocity[name]) for name in trained]
            for index, statistics in enumerate(moving):
                for part, value in zip(("moving_mean", "moving_variance"), statistics):
                    name = f"block{index + 1}.{part}"
                    p[name] = KEEP * p[name] + (1.0 - KEEP) * value
    with torch.no_grad():
        probabilities = F.softmax(forward(p, batch(STEPS)[0]), dim=1).reshape(-1).tolist()
    result = {"made_with": {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": np.__version__},
              "losses": losses, "gradients": gradients, "velocity_after_2": early,
              "statistics_after": [digest(name, p[name]) for name in p if "moving" in name],
              "probabilities_after": probabilities}
    # One line per tensor.
    print(json.dumps(result, separators=(",", ":")).replace('{"name"', '\n{"name"'))


if __name__ == "__main__":
    main()
