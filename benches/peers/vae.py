"""The variational autoencoder of the baseline: its step in PyTorch."""

import torch
import torch.nn.functional as F

from network import EPS, MOMENTUM


class Vae:
    """Encoder, latent layers, decoder and optimiser.

    Convolutions of either direction have their weights as PyTorch has them,
    fully connected layers as matrices (out x in) that read and write maps in
    the order height, width, channel: what channels last has in memory.
    """

    def __init__(self, settings, tensors, memory_format):
        self.blocks, self.beta = settings["network"]["block"], settings["beta"]
        self.format = memory_format
        self.noise = tensors["noise"]
        self.named, self.running = {}, {}
        for name, value in tensors.items():
            if name.endswith("weight") and value.dim() == 4:
                if name.startswith("D") and self.connected(name):
                    # From C x k x k x c, the transposed convolution's.
                    value = value.flatten(1).T.contiguous()
                elif self.connected(name):
                    value = value.flatten(1).clone()
                else:
                    value = value.permute(0, 3, 1, 2).clone(memory_format=memory_format)
            elif name not in ("x", "noise"):
                value = value.clone()
            if name not in ("x", "noise"):
                self.named[name] = value.requires_grad_(True)
            if name.endswith("gamma"):
                statistics = torch.zeros(len(value)), torch.ones(len(value))
                self.running[name.removesuffix(".gamma")] = statistics
        self.optimizer = torch.optim.SGD(
            self.named.values(),
            lr=settings["lr"],
            momentum=settings["momentum"],
            nesterov=True,
            fused=True,
        )

    def block_of(self, name):
        """Block of the network whose layer `D2`, `D3`... is the mirror of; the
        encoder's `L1`, `L2`... itself. `D1` comes before the mirrors."""
        index = int(name[1:].split(".")[0])
        return index - 1 if name.startswith("L") else len(self.blocks) + 1 - index

    def connected(self, name):
        block = self.block_of(name)
        return block == len(self.blocks) or self.blocks[block]["kernel"] == "map"

    def norm(self, name, z):
        """By channel, or by neuron of a matrix."""
        parts = self.named[f"{name}.gamma"], self.named[f"{name}.beta"]
        mean, var = self.running[name]
        return F.batch_norm(z, mean, var, *parts, training=True, momentum=MOMENTUM, eps=EPS)

    def flat(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)

    def losses(self, x):
        """Mean squared error, divergence, and the images decoded."""
        target, places, shapes = x, [], []
        for index, block in enumerate(self.blocks):
            name = f"L{index + 1}"
            shapes.append(x.shape[1:])
            weight, bias = self.named[f"{name}.weight"], self.named[f"{name}.bias"]
            if self.connected(name):
                u = F.relu(F.linear(self.flat(x), weight, bias))[:, :, None, None]
            else:
                u = F.relu(F.conv2d(x, weight, bias))
            indices = None
            if block["pool"] > 1:
                u, indices = F.max_pool2d(u, block["pool"], return_indices=True)
            places.append(indices)
            x = self.norm(name, u)
        code = F.linear(self.flat(x), self.named["latent.weight"], self.named["latent.bias"])
        mean, log_var = code.chunk(2, 1)
        y = mean + (log_var / 2).exp() * self.noise
        for layer in range(len(self.blocks) + 1):
            name = f"D{layer + 1}"
            below = len(self.blocks) - 1 - layer
            weight, bias = self.named[f"{name}.weight"], self.named[f"{name}.bias"]
            if self.connected(name):
                y = self.norm(name, F.relu(F.linear(y, weight, bias)))
                if below < len(self.blocks) - 1:
                    c, h, w = shapes[below + 1]
                    y = y.view(-1, h, w, c).permute(0, 3, 1, 2)
                    y = y.contiguous(memory_format=self.format)
                continue
            y = F.conv_transpose2d(y, weight, bias)
            if below >= 0:
                y = F.relu(y)
                if places[below] is not None:
                    y = F.max_unpool2d(y, places[below], self.blocks[below]["pool"])
            y = self.norm(name, y)
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
        return F.mse_loss(y, target), divergence, y

    def step(self, x, compiled, found=None):
        """Losses, gradients and a step of the optimiser."""
        self.optimizer.zero_grad(set_to_none=True)
        reconstruction, divergence, images = compiled(x)
        (reconstruction + self.beta * divergence).backward()
        self.optimizer.step()
        if found is None:
            return
        found["losses"] = torch.stack([reconstruction, divergence]).detach()
        found["images"] = images.detach()
        for name, value in self.named.items():
            if name.endswith(".weight"):
                gradient = value.grad
                mirrored = name.startswith("D") and value.dim() == 2
                found[f"{name}.gradient"] = gradient.T if mirrored else gradient
