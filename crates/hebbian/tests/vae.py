"""Makes vae.safetensors: what PyTorch computes, in double precision, for a
small variational autoencoder: losses, reconstruction, all gradients, and the
parameters and running statistics after a Nesterov step; and how far the
gradients in single precision are from those. Needs torch and safetensors:

    python3 vae.py vae.safetensors

The first network is the published kind: pooling, none, fully connected. The
second has what a general network may have beside: padding, a stride that
leaves a column over, pooling that leaves a row over, pooling before the latent
vector, and a layer without bias. Tensors are written channels last, as the
Rust side stores them.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

EPS, MOMENTUM = 1e-5, 0.1
# filters, kernel, stride, padding, pool, bias
NETWORKS = {
    "published": (14, [(6, 5, 1, 0, 2, True), (8, 3, 1, 0, 1, True), (20, 3, 1, 0, 1, True)]),
    "general": (13, [(5, 3, 1, 1, 2, True), (4, 3, 2, 0, 1, False), (6, 1, 1, 0, 2, True)]),
}
BATCH, LATENT, BETA, LR, MU = 5, 7, 0.5, 0.1, 0.9


def batch_norm(z, p, dims):
    """Over `dims`; by channel, or by neuron where dims is the batch alone."""
    n = z.numel() / p["gamma"].numel()
    shape = [1 if i in dims else size for i, size in enumerate(z.shape)]
    mean, var = z.mean(dims, keepdim=True), z.var(dims, unbiased=False, keepdim=True)
    p["mean"] = MOMENTUM * mean.detach()
    p["var"] = (1 - MOMENTUM) + MOMENTUM * var.detach() * n / (n - 1)
    return (z - mean) / (var + EPS).sqrt() * p["gamma"].view(shape) + p["beta"].view(shape)


def last(t):
    """Channels last: batch x height x width x channels, or of one image."""
    if t.dim() == 4:
        t = t.permute(0, 2, 3, 1)
    elif t.dim() == 3:
        t = t.permute(1, 2, 0)
    return t.detach().to(torch.float32).contiguous().clone()


def run(name, dtype):
    """All tensors of a network, computed in `dtype`."""
    out = {}
    torch.set_default_dtype(dtype)
    side, blocks = NETWORKS[name]
    torch.manual_seed(11)
    # Rounded to single precision, so that both sides start from equal numbers.
    random = lambda *shape: torch.randn(*shape, dtype=torch.float64).float().to(dtype)
    parts = {}

    def layer(key, weight, bias, norm):
        p = {"weight": random(*weight) * 0.25, "gamma": 1 + 0.25 * random(*norm), "beta": 0.25 * random(*norm)}
        if bias:
            p["bias"] = 0.25 * random(*bias)
        for part, value in p.items():
            parts[f"{key}.{part}"] = value.requires_grad_()
        return p

    x, noise = random(BATCH, 3, side, side), random(BATCH, LATENT)
    # Encoder.
    encoder, shapes, places, h = [], [], [], x
    for i, (filters, kernel, stride, padding, pool, bias) in enumerate(blocks):
        shapes.append(tuple(h.shape[1:]))
        p = layer(f"L{i + 1}", (filters, h.shape[1], kernel, kernel), (filters,) if bias else None, (filters,))
        encoder.append(p)
        u = F.relu(F.conv2d(h, p["weight"], p.get("bias"), stride=stride, padding=padding))
        places.append((None, u.shape))
        if pool > 1:
            u, indices = F.max_pool2d(u, pool, return_indices=True)
            places[-1] = (indices, places[-1][1])
        h = batch_norm(u, p, (0, 2, 3))
    # Latent vector: features in the order height, width, channel.
    features = h.permute(0, 2, 3, 1).flatten(1)
    latent = {"weight": random(2 * LATENT, features.shape[1]) * 0.25, "bias": 0.25 * random(2 * LATENT)}
    for part, value in latent.items():
        parts[f"latent.{part}"] = value.requires_grad_()
    code = features @ latent["weight"].T + latent["bias"]
    mean, log_var = code[:, :LATENT], code[:, LATENT:]
    z = mean + (log_var / 2).exp() * noise

    decoder = []

    def decode(y, key, weight, above, shape, stride=1, padding=0):
        """Transposed convolution to `shape`, then what stands after layer
        `above` of the encoder, if there is one."""
        linear, image = y.shape[2:] == (1, 1) and above is not None, above is None
        pooled = not image and places[above][0] is not None
        bias = shape if linear else shape[:1]
        norm = shape if linear and not pooled else shape[:1]
        p = layer(key, weight, bias, norm)
        decoder.append(p)
        extra = [
            size - ((n - 1) * stride - 2 * padding + k)
            for size, n, k in zip(shape[1:], y.shape[2:], weight[2:])
        ]
        y = F.conv_transpose2d(y, p["weight"], stride=stride, padding=padding, output_padding=extra)
        y = y + p["bias"].view(1, *p["bias"].shape, *([1, 1] if len(bias) == 1 else []))
        if not image:
            y = F.relu(y)
        if pooled:
            indices, before = places[above]
            y = F.max_unpool2d(y, indices, blocks[above][4], output_size=before[2:])
        return batch_norm(y, p, (0,) if len(norm) == 3 else (0, 2, 3))

    shape = tuple(h.shape[1:])
    y = decode(z[:, :, None, None], "D1", (LATENT, *shape), len(blocks) - 1, shape)
    for i in reversed(range(len(blocks))):
        filters, kernel, stride, padding, _, _ = blocks[i]
        weight = (filters, shapes[i][0], kernel, kernel)
        above = i - 1 if i > 0 else None
        y = decode(y, f"D{len(blocks) - i + 1}", weight, above, shapes[i], stride, padding)

    reconstruction = F.mse_loss(y, x)
    divergence = (-0.5 * (1 + log_var - mean**2 - log_var.exp())).sum(1).mean()
    for key, value in {"x": x, "noise": noise, "images": y}.items():
        out[f"{name}.{key}"] = last(value)
    out[f"{name}.losses"] = torch.stack([reconstruction, divergence]).detach().float()
    for key, value in parts.items():
        out[f"{name}.{key}"] = last(value)
    optimiser = torch.optim.SGD(list(parts.values()), lr=LR, momentum=MU, nesterov=True)
    (reconstruction + BETA * divergence).backward()
    for key, value in parts.items():
        out[f"{name}.d_{key}"] = last(value.grad)
    # From rest, a step is lr (1 + momentum) times the gradient: two show the momentum.
    for _ in range(2):
        optimiser.step()
    for key, value in parts.items():
        out[f"{name}.stepped_{key}"] = last(value)
    layers = {f"L{i + 1}": p for i, p in enumerate(encoder)} | {f"D{i + 1}": p for i, p in enumerate(decoder)}
    for key, p in layers.items():
        for part in ("mean", "var"):
            # By neuron, batch x channels x height x width; by channel, the same of 1 x 1.
            out[f"{name}.{key}.{part}"] = last(p[part]).flatten()
    return out


out = {}
for name in NETWORKS:
    exact, single = run(name, torch.float64), run(name, torch.float32)
    out |= exact
    for key, value in exact.items():
        if f"{name}.d_" in key:
            # How far single precision is off, of the largest entry: what rounding makes of it.
            out[key.replace(".d_", ".rounding_")] = ((single[key] - value).abs().max() / value.abs().max()).view(1)
save_file(out, sys.argv[1])
