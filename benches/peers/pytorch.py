"""Steps of the same network in PyTorch, on the CPU.

Reads network, images and labels that the benchmark wrote, measures, then
computes once more from the start and writes the outputs to be compared. One
JSON object on standard output: versions, seconds of each run, memory in MiB.

    python pytorch.py --row forward --form channels-last --inputs inputs.safetensors \
        --settings settings.json --outputs outputs.safetensors --images 64 --runs 7 --threads 2

Rows and forms:
  forward          contiguous, channels-last, compiled (running statistics, inference mode)
  supervised step  contiguous, channels-last, compiled (forward, backward, SGD)
  RULE step        naive: the rule as first published, a tensor of N x group x D
                   published: FastHebb, patches unfolded, products in the published order
                   convolution: the same update as PyTorch computes it fastest, by the
                   weight gradient of a convolution, channels last
Compiled is channels last by torch.compile, which needs a C++ compiler.
"""

import argparse
import json
import time

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

EPS, MOMENTUM = 1e-5, 0.1
# Output channels that the published code takes together, to bound memory.
GROUP = 128


class Layer:
    """Convolution, ReLU, max-pooling and normalisation, in that order.

    `weight` is C x c x k x k, as PyTorch has it; the file has C x k x k x c.
    """

    def __init__(self, block, tensors, name, memory_format):
        # A kernel as large as the map is a fully connected layer.
        self.full = block["kernel"] == "map"
        if self.full:
            memory_format = torch.contiguous_format
        weight = tensors[f"{name}.weight"].permute(0, 3, 1, 2)
        self.weight = weight.clone(memory_format=memory_format)
        self.gamma, self.beta, self.mean, self.var = (
            tensors[f"{name}.{part}"].clone() for part in ("gamma", "beta", "mean", "var")
        )
        self.stride, self.padding, self.pool = block["stride"], block["padding"], block["pool"]
        self.relative = block["norm"] == "relative"

    def project(self, x, weight):
        """The convolution; for a fully connected layer a product of matrices."""
        if self.full:
            return F.linear(x.flatten(1), weight.flatten(1))[:, :, None, None]
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)

    def pooled(self, u):
        out = F.relu(u)
        return F.max_pool2d(out, self.pool) if self.pool > 1 else out

    def factor(self):
        """What keeps the channels' relative variance; a constant to the gradient."""
        return ((self.var + EPS) / (self.var.mean() + EPS)).sqrt().detach()

    def train_norm(self, z):
        parts = self.mean, self.var, self.gamma, self.beta
        out = F.batch_norm(z, *parts, training=True, momentum=MOMENTUM, eps=EPS)
        # The running variance has been moved by this batch, as published.
        return out * self.factor().view(1, -1, 1, 1) if self.relative else out

    def infer_norm(self, z, factor):
        gamma, beta = self.gamma * factor, self.beta * factor
        return F.batch_norm(z, self.mean, self.var, gamma, beta, eps=EPS)

    def unfold(self, x):
        """Patches, N x D with D over channel, kernel row, kernel column."""
        kernel = self.weight.shape[2:]
        patches = F.unfold(x, kernel, stride=self.stride, padding=self.padding)
        return patches.transpose(1, 2).reshape(-1, patches.shape[1])


def forward(layers, x):
    """Features, batch x length, in the order height, width, channel."""
    for layer in layers:
        factor = layer.factor() if layer.relative else 1.0
        x = layer.infer_norm(layer.pooled(layer.project(x, layer.weight)), factor)
    return x.permute(0, 2, 3, 1).flatten(1)


class Supervised:
    """A classifier on the layers, and its optimiser."""

    def __init__(self, layers, tensors, sgd):
        self.layers = layers
        self.weight, self.bias = tensors["head.weight"].clone(), tensors["head.bias"].clone()
        named = {}
        for index, layer in enumerate(layers):
            for part in ("weight", "gamma", "beta"):
                named[f"L{index + 1}.{part}"] = getattr(layer, part)
        named |= {"head.weight": self.weight, "head.bias": self.bias}
        for parameter in named.values():
            parameter.requires_grad_(True)
        self.named = named
        self.optimizer = torch.optim.SGD(
            named.values(),
            lr=sgd["lr"],
            momentum=sgd["momentum"],
            weight_decay=sgd["weight_decay"],
            nesterov=True,
            fused=True,
        )

    def loss(self, x, labels):
        for layer in self.layers:
            x = layer.train_norm(layer.pooled(layer.project(x, layer.weight)))
        scores = F.linear(x.permute(0, 2, 3, 1).flatten(1), self.weight, self.bias)
        return F.cross_entropy(scores, labels)


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


def status_mib(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return None


def measure(body, runs):
    """Seconds of each run after one to warm up, and the most memory held."""
    try:
        with open("/proc/self/clear_refs", "w") as mark:
            mark.write("5")
        before = status_mib("VmRSS:")
    except OSError:
        before = None
    body()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        body()
        seconds.append(time.perf_counter() - start)
    peak = None if before is None else status_mib("VmHWM:")
    return {"runs": seconds, "peak_mib": peak, "before_mib": before}


def channels_last(found):
    """Copies of tensors in the benchmark's order of dimensions."""
    return {
        name: (value.permute(0, 2, 3, 1) if value.dim() == 4 else value).contiguous().clone()
        for name, value in found.items()
    }


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--row", required=True)
    parser.add_argument("--form", required=True)
    parser.add_argument("--inputs", required=True, help="safetensors file of the benchmark")
    parser.add_argument("--settings", required=True, help="JSON: network, sgd, rules")
    parser.add_argument("--outputs", required=True, help="safetensors file to write")
    parser.add_argument("--images", type=int, required=True, help="images a step")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def main():
    given = options()
    torch.set_num_threads(given.threads)
    with open(given.settings) as file:
        settings = json.load(file)
    tensors = load_file(given.inputs)
    memory_format = torch.contiguous_format
    if given.form in ("channels-last", "compiled", "convolution"):
        memory_format = torch.channels_last
    x = tensors["x"][: given.images].permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=memory_format)
    labels = tensors["labels"][: given.images].long()

    def compiled(function):
        if given.form != "compiled":
            return function
        return torch.compile(function, dynamic=False)

    def body(found=None):
        """A network of its own, and what a run does with a batch of it."""
        layers = [
            Layer(block, tensors, f"L{index + 1}", memory_format)
            for index, block in enumerate(settings["network"]["block"])
        ]
        if given.row == "forward":
            infer = compiled(lambda x: forward(layers, x))

            @torch.inference_mode()
            def run(x, labels):
                features = infer(x)
                if found is not None:
                    found["features"] = features

        elif given.row == "supervised step":
            model = Supervised(layers, tensors, settings["sgd"])
            loss_of = compiled(model.loss)

            def run(x, labels):
                model.optimizer.zero_grad(set_to_none=True)
                loss = loss_of(x, labels)
                loss.backward()
                model.optimizer.step()
                if found is not None:
                    found["loss"] = loss.detach().view(1)
                    for name, parameter in model.named.items():
                        found[f"{name}.gradient"] = parameter.grad
                        found[f"{name}.after"] = parameter.detach()

        else:
            rule = settings["rules"][given.row.removesuffix(" step")]

            @torch.inference_mode()
            def run(x, labels):
                hebbian_step(layers, x, rule, given.form, found)

        return run

    if given.form == "compiled":
        # The run whose outputs are compared is the one that compiles; memory
        # would be the compiler's.
        found = {}
        run = body(found)
        run(x, labels)
        outputs = channels_last(found)
        timing = measure(lambda: run(x, labels), given.runs)
        timing |= {"peak_mib": None, "before_mib": None}
    else:
        # Two images, so that the libraries' own code is in memory beforehand.
        body()(x[:2], labels[:2])
        run = body()
        timing = measure(lambda: run(x, labels), given.runs)
        found = {}
        body(found)(x, labels)
        outputs = channels_last(found)
    save_file(outputs, given.outputs)
    versions = {"torch": torch.__version__, "numpy": numpy.__version__}
    print(json.dumps({"versions": versions, "timing": timing}))


if __name__ == "__main__":
    main()
