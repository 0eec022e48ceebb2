"""bf16 on one GPU against fp32: for each family, the relative error of the loss and the worst cosine of any gradient, ours
beside transformers' own bf16, and the mean distance of all cosines from 1.

  python bench/gpu_parity.py        (a GPU, transformers, and build/bin/trireme or $TRIREME)
"""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "python"))
import reference
import tiny_models
import torch
from program import dump
from test_gpu_parity import BATCHES, CONFIGS, make_batch


def compare(config, batch, scratch):
    model = tiny_models.build(config)
    folder = tiny_models.save(model, pathlib.Path(scratch) / "model")
    documents, labels = make_batch(batch)
    exact = reference.forward_backward(model, documents, labels)
    ours = dump(folder, documents, labels, scratch, "--device", "cuda", logits=False)
    peer = reference.load(folder, dtype=torch.bfloat16, device="cuda", attention="sdpa")
    theirs = reference.forward_backward(peer, documents, labels)
    pairs = [(reference.cosine(ours.grads[name], grad), reference.cosine(theirs.grads[name], grad))
             for name, grad in exact.grads.items() if grad.norm() > 0]
    error = lambda result: abs(result.loss_sum - exact.loss_sum) / exact.loss_sum
    return error(ours), error(theirs), pairs


def main():
    print(f"{torch.cuda.get_device_name()}, bf16 against fp32")
    print(f"{'model':>10} {'batch':>13} | loss: ours theirs   | worst cosine: ours theirs | mean 1 - cosine: ours theirs")
    for name, config in CONFIGS.items():
        for batch, lengths in BATCHES.items():
            with tempfile.TemporaryDirectory() as scratch:
                ours, theirs, pairs = compare(config(), lengths, scratch)
            worst = [min(pair[i] for pair in pairs) for i in (0, 1)]
            mean = [sum(1 - pair[i] for pair in pairs) / len(pairs) for i in (0, 1)]
            print(f"{name:>10} {batch:>13} | {ours:11.1e} {theirs:8.1e} | {worst[0]:18.5f} {worst[1]:.5f} | "
                  f"{mean[0]:20.1e} {mean[1]:.1e}")


if __name__ == "__main__":
    main()
