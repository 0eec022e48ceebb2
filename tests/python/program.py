"""Running trireme from the tests and benchmarks. Needs no pytest."""
import dataclasses
import json
import os
import pathlib
import subprocess

import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary():
    """$TRIREME (set by CTest), or the build folder's."""
    return os.environ.get("TRIREME") or str(ROOT / "build" / "bin" / "trireme")


def run(*arguments, expect=0, timeout=600, **options):
    """Runs trireme; fails with its stderr unless it exits with `expect`."""
    command = [binary(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    assert expect is None or done.returncode == expect, (
        f"exit {done.returncode}, expected {expect}: {' '.join(command)}\n{done.stderr[-3000:]}")
    return done


@dataclasses.dataclass
class Result:
    """One forward and backward. Gradients are of loss_sum / tokens, by Hugging Face tensor name."""
    loss_sum: float
    tokens: int
    logits: torch.Tensor  # [T,V], documents one after another
    grads: dict

    @property
    def loss(self):
        return self.loss_sum / self.tokens


def dump(model, documents, labels, folder, *options, logits=True, grads=True, **run_options):
    """`trireme dump` on documents of token ids; `folder` takes the batch and the result."""
    batch, out = pathlib.Path(folder) / "batch.json", pathlib.Path(folder) / "dump.safetensors"
    batch.write_text(json.dumps({"documents": documents, "labels": labels}))
    flags = ["--logits"] * logits + ["--grads"] * grads
    run("dump", "--model", model, "--batch", batch, "--out", out, *flags, *options, **run_options)
    tensors = load_file(out)
    out.unlink()
    return Result(tensors["loss_sum"].double().item(), int(tensors["tokens"].item()), tensors.get("logits"),
                  {name[len("grad."):]: tensor for name, tensor in tensors.items() if name.startswith("grad.")})


def train(model, data, output, *options, **run_options):
    """`trireme train` into `output`; on one thread unless the options say otherwise: the tests' models are tiny."""
    return run("train", "--model", model, "--data_file", data, "--output_dir", output, "--threads", 1, *options,
               **run_options)


def metric_lines(folder):
    return [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]


def metrics(folder):
    """The lines of metrics.jsonl that tell of a training step."""
    return [line for line in metric_lines(folder) if "step" in line and "loss" in line]


def evaluations(folder):
    """The lines of metrics.jsonl that tell of an evaluation."""
    return [line for line in metric_lines(folder) if "eval_loss" in line]
