"""Makes gradients.safetensors: what PyTorch computes, in double precision, for
a small network with every kind of layer. Needs torch and safetensors:

    python3 gradients.py gradients.safetensors

Tensors are written channels last, as the Rust side stores them. Each network
takes one Nesterov step, so that the optimiser is covered too.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

EPS, MOMENTUM = 1e-5, 0.1
# filters, kernel, stride, padding, pool, normalisation
BLOCKS = [(6, 5, 1, 0, 2, "batch"), (8, 3, 1, 1, 1, "batch-relu"), (10, 3, 2, 0, 1, "relative"), (40, 2, 1, 0, 1, "relative")]
CLASSES, LR, MU, DECAY = 4, 0.1, 0.9, 0.05


def batch_norm(z, p, norm):
    dims = (0, 2, 3)
    n = z.numel() / z.shape[1]
    mean, var = z.mean(dims), z.var(dims, unbiased=False)
    running_mean = (1 - MOMENTUM) * p["mean"] + MOMENTUM * mean.detach()
    running_var = (1 - MOMENTUM) * p["var"] + MOMENTUM * var.detach() * n / (n - 1)
    p["mean"], p["var"] = running_mean, running_var
    view = lambda v: v[None, :, None, None]
    out = (z - view(mean)) / view((var + EPS).sqrt()) * view(p["gamma"]) + view(p["beta"])
    if norm == "relative":
        out = out * view(((running_var + EPS) / (running_var.mean() + EPS)).sqrt())
    return F.relu(out) if norm == "batch-relu" else out


def last(t):
    return (t.permute(0, 2, 3, 1) if t.dim() == 4 else t).detach().to(torch.float32).contiguous().clone()


out = {}
for name, normalised in [("plain", False), ("normalised", True)]:
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    # Rounded to single precision, so that both sides start from equal numbers.
    random = lambda *shape: torch.randn(*shape).float().double()
    x = random(5, 3, 14, 14).requires_grad_()
    labels = torch.tensor([0, 3, 1, 2, 3])
    blocks, channels = [], 3
    for filters, kernel, stride, padding, pool, norm in BLOCKS:
        p = {
            "weight": (random(filters, channels, kernel, kernel) * 0.25).requires_grad_(),
            "gamma": (1 + 0.25 * random(filters)).requires_grad_(),
            "beta": (0.25 * random(filters)).requires_grad_(),
            "mean": torch.zeros(filters),
            "var": torch.ones(filters),
        }
        blocks.append(p)
        channels = filters
    h = x
    for p, (filters, kernel, stride, padding, pool, norm) in zip(blocks, BLOCKS):
        w = p["weight"]
        if normalised:
            w = w / w.flatten(1).norm(dim=1)[:, None, None, None]
        h = F.relu(F.conv2d(h, w, stride=stride, padding=padding))
        h = batch_norm(F.max_pool2d(h, pool), p, norm)
    features = h.permute(0, 2, 3, 1).flatten(1)
    head = {
        "weight": (random(CLASSES, features.shape[1]) * 0.25).requires_grad_(),
        "bias": (0.25 * random(CLASSES)).requires_grad_(),
    }
    scores = features @ head["weight"].T + head["bias"]
    loss = F.cross_entropy(scores, labels)
    out[f"{name}.x"] = last(x)
    parts = {f"L{i + 1}.{k}": p[k] for i, p in enumerate(blocks) for k in ("weight", "gamma", "beta")}
    parts |= {f"head.{k}": v for k, v in head.items()}
    for key, value in parts.items():
        out[f"{name}.{key}"] = last(value)
    optimiser = torch.optim.SGD(list(parts.values()), lr=LR, momentum=MU, nesterov=True, weight_decay=DECAY)
    loss.backward()
    out[f"{name}.loss"] = loss.detach().float().reshape(1)
    out[f"{name}.scores"] = last(scores)
    out[f"{name}.d_x"] = last(x.grad)
    for key, value in parts.items():
        out[f"{name}.d_{key}"] = last(value.grad)
    optimiser.step()
    for key, value in parts.items():
        out[f"{name}.stepped_{key}"] = last(value)
    for i, p in enumerate(blocks):
        out[f"{name}.L{i + 1}.mean"], out[f"{name}.L{i + 1}.var"] = last(p["mean"]), last(p["var"])
save_file(out, sys.argv[1])
