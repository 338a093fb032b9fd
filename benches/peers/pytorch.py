"""Steps of the same network in PyTorch, on the CPU.

Reads network, images and labels that the benchmark wrote, measures, then
computes once more from the start and writes the outputs to be compared. One
JSON object on standard output: versions, seconds of each run, memory in MiB.

    python pytorch.py --row forward --form channels-last --inputs inputs.safetensors \
        --settings settings.json --outputs outputs.safetensors --images 64 --runs 7 --threads 2

Rows and forms:
  forward          contiguous, channels-last, compiled (running statistics, inference mode)
  supervised step  contiguous, channels-last, compiled (forward, backward, SGD)
  VAE step         contiguous, channels-last, compiled (forward, backward, SGD)
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
from safetensors.torch import load_file, save_file

from hebbian_step import hebbian_step
from network import Layer, Supervised, forward
from vae import Vae


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
    labels = tensors["labels"][: given.images].long() if "labels" in tensors else None

    def compiled(function):
        if given.form != "compiled":
            return function
        return torch.compile(function, dynamic=False)

    def body(found=None):
        """A network of its own, and what a run does with a batch of it."""
        if given.row == "VAE step":
            model = Vae(settings["vae"], tensors, memory_format)
            losses_of = compiled(model.losses)
            return lambda x, labels: model.step(x, losses_of, found)
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

    # Two images are enough, but the noise of a VAE is for all.
    warm_up = (x, labels) if labels is None else (x[:2], labels[:2])
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
        # So that the libraries' own code is in memory beforehand.
        body()(*warm_up)
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
