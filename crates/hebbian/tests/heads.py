"""Makes heads.safetensors: two steps of a small network under a classifier
with a hidden layer, by PyTorch's own modules in double precision. Needs torch
and safetensors:

    python3 heads.py heads.safetensors

Tensors are written channels last, as the Rust side stores them.
"""

import sys

import torch
from safetensors.torch import save_file
from torch import nn

BATCH, CLASSES, FILTERS, HIDDEN, SIDE = 7, 4, 6, 9, 14
LR, MU, DECAY = 0.05, 0.9, 0.05

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
conv, norm = nn.Conv2d(3, FILTERS, 5, bias=False), nn.BatchNorm2d(FILTERS)
features = FILTERS * 5 * 5
hidden, hidden_norm, out = nn.Linear(features, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.Linear(HIDDEN, CLASSES)
parameters = {
    "L1.weight": conv.weight,
    "L1.gamma": norm.weight,
    "L1.beta": norm.bias,
    "head.hidden.weight": hidden.weight,
    "head.hidden.bias": hidden.bias,
    "head.hidden.gamma": hidden_norm.weight,
    "head.hidden.beta": hidden_norm.bias,
    "head.weight": out.weight,
    "head.bias": out.bias,
}
statistics = {
    "L1.mean": norm.running_mean,
    "L1.var": norm.running_var,
    "head.hidden.mean": hidden_norm.running_mean,
    "head.hidden.var": hidden_norm.running_var,
}
with torch.no_grad():
    for p in [norm.weight, norm.bias, hidden_norm.weight, hidden_norm.bias]:
        p.add_(0.25 * torch.randn(p.shape))
    # Rounded to single precision, so that both sides start from equal numbers.
    for p in parameters.values():
        p.copy_(p.float())


def last(t):
    return (t.permute(0, 2, 3, 1) if t.dim() == 4 else t).detach().to(torch.float32).contiguous().clone()


def code(x):
    h = norm(torch.max_pool2d(torch.relu(conv(x)), 2))
    return hidden_norm(torch.relu(hidden(h.permute(0, 2, 3, 1).flatten(1))))


tensors = {key: last(p) for key, p in parameters.items()}
optimiser = torch.optim.SGD(list(parameters.values()), lr=LR, momentum=MU, nesterov=True, weight_decay=DECAY)
labels = torch.tensor([0, 3, 1, 2, 3, 0, 1])
for step in range(2):
    x = torch.randn(BATCH, 3, SIDE, SIDE).float().double()
    # Dropout as factors, so that both sides drop the same units.
    keep = 2.0 * (torch.rand(BATCH, HIDDEN) < 0.5)
    scores = out(code(x) * keep)
    loss = nn.functional.cross_entropy(scores, labels)
    optimiser.zero_grad()
    loss.backward()
    tensors |= {f"{step}.x": last(x), f"{step}.keep": last(keep), f"{step}.scores": last(scores)}
    tensors[f"{step}.loss"] = loss.detach().float().reshape(1)
    for key, p in parameters.items():
        tensors[f"{step}.d_{key}"] = last(p.grad)
    optimiser.step()
    for key, p in (parameters | statistics).items():
        tensors[f"{step}.{key}"] = last(p)
for module in [norm, hidden_norm]:
    module.eval()
tensors["code"] = last(code(x))
tensors["eval_scores"] = last(out(code(x)))
save_file(tensors, sys.argv[1])
