"""Reference numbers of networks of other structures from PyTorch in float64: loss, gradients of every tensor, embedding.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python generate_structures.py > structures.json

Weights and inputs follow the recipe of generate.py. Layers are PyTorch's own (`max_pool2d`, `LSTM`, `softmax`); dropout is
off. A network without blocks takes windows of the spectrogram as they are, its rows one after the other.
"""

import json
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

from generate import EPSILON, digest, unit

CLASSES, BATCH = 7, 3
POOLS = [(4, 2), (2, 2), (1, 2)]
SHAPE = {"n_mels": 16, "n_frames": 45, "window": 8, "hop": 8, "maps": [16, 20, 24], "pools": POOLS, "units": 12}
BARE = {"n_mels": 16, "n_frames": 13, "window": 3, "hop": 2, "maps": [], "pools": [], "units": 12}
CASES = [
    dict(SHAPE, recurrent="lstm", head="last"),
    dict(SHAPE, recurrent="lstm", head="mean"),
    dict(SHAPE, recurrent="lstm", head="mean-deviation"),
    dict(SHAPE, recurrent="lstm", head="attention"),
    dict(SHAPE, recurrent="bilstm", head="last"),
    dict(SHAPE, recurrent="bilstm", head="attention"),
    dict(SHAPE, recurrent="none", head="mean-deviation"),
    dict(SHAPE, recurrent="lstm", head="mean-deviation", window=16, hop=8),
    dict(BARE, recurrent="none", head="mean-deviation"),
    dict(BARE, recurrent="bilstm", head="last"),
    dict(SHAPE, recurrent="lstm", head="mean", inputs="deltas"),
    dict(BARE, recurrent="lstm", head="attention", inputs="deltas"),
]


def channels(case):
    """Which orders of delta enter."""
    return {"log-mel": [0], "deltas": [0, 1, 2]}[case.get("inputs", "log-mel")]


def delta(x):
    """HTK's regression over five frames, the ends repeated; x `[batch, 1, mels, frames]`."""
    kernel = torch.arange(-2, 3, dtype=torch.float64).reshape(1, 1, 1, 5) / 10
    return F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), kernel)


def shapes(case):
    maps, height = len(channels(case)), case["n_mels"]
    for index, (n_maps, pool) in enumerate(zip(case["maps"], case["pools"])):
        yield f"block{index + 1}.kernel", (3, 3, maps, n_maps)
        for part in ("bias", "gamma", "beta", "moving_mean", "moving_variance"):
            yield f"block{index + 1}.{part}", (n_maps,)
        maps, height = n_maps, height // pool[0]
    inputs = maps * height * (case["window"] // math.prod(pool[1] for pool in case["pools"]))
    names = {"none": [], "lstm": ["lstm"], "bilstm": ["lstm", "lstm_backward"]}[case["recurrent"]]
    for name in names:
        yield f"{name}.kernel", (inputs, 4 * case["units"])
        yield f"{name}.recurrent_kernel", (case["units"], 4 * case["units"])
        yield f"{name}.bias", (4 * case["units"],)
    width = len(names) * case["units"] or inputs
    if case["head"] == "attention":
        yield "attention.kernel", (width, 1)
    yield "dense.kernel", (width * (2 if case["head"] == "mean-deviation" else 1), CLASSES)
    yield "dense.bias", (CLASSES,)


def parameters(case):
    tensors = {}
    for index, (name, shape) in enumerate(shapes(case)):
        n = math.prod(shape)
        u, i, (layer, part) = unit(1000 + index, n), np.arange(n), name.split(".")
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
            forget = (i >= case["units"]) & (i < 2 * case["units"])
            values = 0.2 * (u - 0.5) + (1.0 if layer.startswith("lstm") else 0.0) * forget
        tensors[name] = torch.tensor(values.astype(np.float32).astype(np.float64).reshape(shape))
    return tensors


def batch(case):
    n_mels, n_frames = case["n_mels"], case["n_frames"]
    u = unit(500, 4 * BATCH * n_mels * n_frames).reshape(-1, 4)
    values = -8.0 + 5.0 * (u[:, 0] + u[:, 1] + u[:, 2] + u[:, 3] - 2.0)
    values = values.astype(np.float32).astype(np.float64).reshape(BATCH, n_mels, n_frames)
    return torch.tensor(values), torch.tensor([3 * recording % CLASSES for recording in range(BATCH)])


def steps(case, p, log_mel):
    """Vectors `[batch, steps, inputs]`: convolutions see all frames that lie in a window once."""
    window, hop = case["window"], case["hop"]
    n_steps = 1 + (case["n_frames"] - window) // hop
    x = [log_mel[:, None]]
    for _ in channels(case)[1:]:
        x.append(delta(x[-1]))
    x = torch.cat(x, dim=1)[:, :, :, : (n_steps - 1) * hop + window]
    for index, pool in enumerate(case["pools"]):
        get = lambda part: p[f"block{index + 1}.{part}"]
        x = F.conv2d(x, get("kernel").permute(3, 2, 0, 1), get("bias"), padding=1)
        x = F.batch_norm(x, None, None, get("gamma"), get("beta"), training=True, eps=EPSILON)
        x = F.max_pool2d(F.elu(x), pool)
        window, hop = window // pool[1], hop // pool[1]
    x = x.permute(0, 2, 3, 1)
    return torch.stack([x[:, :, s * hop : s * hop + window].reshape(x.shape[0], -1) for s in range(n_steps)], dim=1)


def outputs(case, p, x):
    names = {"none": [], "lstm": ["lstm"], "bilstm": ["lstm", "lstm_backward"]}[case["recurrent"]]
    if not names:
        return x, x[:, -1]
    lstm = torch.nn.LSTM(x.shape[2], case["units"], batch_first=True, bidirectional=len(names) == 2, dtype=torch.float64)
    weights = {}
    for name, suffix in zip(names, ("", "_reverse")):
        weights[f"weight_ih_l0{suffix}"] = p[f"{name}.kernel"].T
        weights[f"weight_hh_l0{suffix}"] = p[f"{name}.recurrent_kernel"].T
        weights[f"bias_ih_l0{suffix}"] = p[f"{name}.bias"]
        weights[f"bias_hh_l0{suffix}"] = torch.zeros(4 * case["units"], dtype=torch.float64)
    out, (last, _) = torch.func.functional_call(lstm, weights, (x,))
    return out, torch.cat(list(last), dim=1)


def embedding(case, p, log_mel):
    out, last = outputs(case, p, steps(case, p, log_mel))
    if case["head"] == "last":
        return last
    if case["head"] == "attention":
        return (torch.softmax(out @ p["attention.kernel"], dim=1) * out).sum(1)
    if case["head"] == "mean":
        return out.mean(1)
    deviation = torch.sqrt(out.var(1, unbiased=False) + float(np.float32(1e-5)))
    return torch.cat([out.mean(1), deviation], dim=1)


def main():
    results = []
    for case in CASES:
        p = parameters(case)
        trained = [name for name in p if "moving" not in name]
        for name in trained:
            p[name].requires_grad_(True)
        log_mel, labels = batch(case)
        vector = embedding(case, p, log_mel)
        loss = F.cross_entropy(vector @ p["dense.kernel"] + p["dense.bias"], labels)
        gradients = torch.autograd.grad(loss, [p[name] for name in trained])
        network = {key: case[key] for key in ("n_mels", "n_frames", "window", "hop", "recurrent", "head")}
        network |= {"maps": case["maps"], "pools": case["pools"], "units": case["units"],
                    "inputs": case.get("inputs", "log-mel")}
        results.append({"network": network, "loss": loss.item(), "embedding": digest("embedding", vector),
                        "gradients": [digest(name, g) for name, g in zip(trained, gradients)]})
    made_with = {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": np.__version__}
    # One line per tensor.
    print(json.dumps({"made_with": made_with, "cases": results}, separators=(",", ":")).replace('{"name"', '\n{"name"'))


if __name__ == "__main__":
    main()
