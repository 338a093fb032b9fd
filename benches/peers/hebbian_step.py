"""A pre-training step: the update of soft-WTA and HPCA in several forms.

With patches X (N x D), weights W (C x D) and gates A (N x C), all of them are
dW = A^T X - Rec over a denominator.
"""

import torch
import torch.nn.functional as F

# Output channels that the published code takes together, to bound memory.
GROUP = 128


def nonzero(norm):
    return torch.where(norm == 0, 1.0, norm)


def by_groups(c):
    return (slice(start, min(start + GROUP, c)) for start in range(0, c, GROUP))


def winning(u, patch_norm, weight_norm, temperature, dim):
    """Soft-WTA's competition r of projections u, a softmax over the neurons."""
    similarity = ((u / (patch_norm * weight_norm) + 1) / 2).square()
    return torch.softmax(similarity / temperature, dim)


def weight_norms(layer):
    return nonzero(layer.weight.flatten(1).norm(dim=1))


def output(layer, x, rule):
    """The layer's responses: plain projections, or those of normalised weights."""
    if rule["name"] == "hpca":
        return layer.project(x, layer.weight)
    return layer.project(x, layer.weight / weight_norms(layer).view(-1, 1, 1, 1))


def published_update(layer, x, rule):
    """FastHebb: dW = A^T X - Rec in groups of channels; learning has its own
    evaluation of the projections, as in the published code."""
    patches, weight = layer.unfold(x), layer.weight.flatten(1)
    n, c = len(patches), len(weight)
    u = patches @ weight.T
    delta = torch.empty_like(weight)
    if rule["name"] == "hpca":
        y = F.relu(u)
        for group in by_groups(c):
            lower = torch.ones(group.stop - group.start, c).tril(group.start)
            prefix = (y[:, group].T @ y).mul_(lower)
            delta[group] = (y[:, group].T @ patches - prefix @ weight) / n
    else:
        patch_norm = nonzero(patches.norm(dim=1, keepdim=True))
        r = winning(u, patch_norm, weight_norms(layer), rule["temperature"], 1)
        a = r * (r / nonzero(r.sum(0)))
        for group in by_groups(c):
            own = a[:, group].sum(0).unsqueeze(1) * weight[group]
            delta[group] = a[:, group].T @ patches - own
    return delta


def naive_update(layer, x, rule):
    """Without FastHebb: each position's step towards its own reconstruction, a
    tensor of N x group x D, and their weighted mean."""
    patches, weight = layer.unfold(x), layer.weight.flatten(1)
    u = patches @ weight.T
    delta = torch.empty_like(weight)
    x = patches.unsqueeze(1)
    if rule["name"] == "hpca":
        y = F.relu(u)
        before = torch.zeros_like(x)
        for group in by_groups(len(weight)):
            gate = y[:, group].unsqueeze(2)
            reconstruction = before + torch.cumsum(gate * weight[group], 1)
            delta[group] = (gate * (x - reconstruction)).mean(0)
            before = reconstruction[:, -1:].clone()
    else:
        patch_norm = nonzero(patches.norm(dim=1, keepdim=True))
        r = winning(u, patch_norm, weight_norms(layer), rule["temperature"], 1)
        share = r / nonzero(r.sum(0))
        for group in by_groups(len(weight)):
            gate = r[:, group].unsqueeze(2)
            step = gate * (x - weight[group])
            delta[group] = (share[:, group].unsqueeze(2) * step).sum(0)
    return delta


def convolution_update(layer, x, u, rule):
    """A^T X as the weight gradient of a convolution: no patches in memory.
    `u` are the plain projections, shared with the forward pass."""
    shape, weight = layer.weight.shape, layer.weight.flatten(1)
    n, c = u.numel() // u.shape[1], u.shape[1]

    def gate_patches(a):
        if layer.full:
            return a.flatten(1).T @ x.flatten(1)
        gradient = torch.nn.grad.conv2d_weight(
            x, shape, a, stride=layer.stride, padding=layer.padding
        )
        return gradient.flatten(1)

    if rule["name"] == "hpca":
        y = F.relu(u)
        rows = y.permute(0, 2, 3, 1).reshape(n, c)
        return (gate_patches(y) - (rows.T @ rows).tril_() @ weight) / n
    ones = torch.ones(1, *shape[1:])
    patch_norm = nonzero(layer.project(x.square(), ones).sqrt())
    norms = weight_norms(layer)
    r = winning(u, patch_norm, norms.view(1, -1, 1, 1), rule["temperature"], 1)
    a = r.square()
    own = a.sum((0, 2, 3)).unsqueeze(1) * weight
    return (gate_patches(a) - own) / nonzero(r.sum((0, 2, 3))).unsqueeze(1)


def hebbian_step(layers, x, rule, form, found=None):
    """A pre-training step of all layers together; `found` takes the updates
    and outputs of each."""
    for index, layer in enumerate(layers):
        if form == "convolution":
            u = layer.project(x, layer.weight)
            delta = convolution_update(layer, x, u, rule)
            if rule["name"] != "hpca":
                u = u / weight_norms(layer).view(1, -1, 1, 1)
        else:
            u = output(layer, x, rule)
            update = naive_update if form == "naive" else published_update
            delta = update(layer, x, rule)
        delta = delta.view(layer.weight.shape)
        # The step moves the weights it started from, once all is computed.
        layer.weight.add_(delta, alpha=rule["lr"])
        x = layer.train_norm(layer.pooled(u))
        if found is not None:
            found[f"L{index + 1}.delta"] = delta
            found[f"L{index + 1}.out"] = x
