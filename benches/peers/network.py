"""The layers of a network, its forward pass and its supervised loss."""

import torch
import torch.nn.functional as F

EPS, MOMENTUM = 1e-5, 0.1


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
