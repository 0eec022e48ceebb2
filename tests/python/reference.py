"""The reference: transformers and torch, one document at a time, so that packing is compared with no packing."""
import contextlib
import logging
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, get_scheduler
from transformers.utils import logging as transformers_logging

from program import Result

torch.set_num_threads(2)
transformers_logging.disable_progress_bar()
logging.getLogger("transformers").setLevel(logging.ERROR)


def load(folder, dtype=torch.float32, device="cpu", attention="eager"):
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention, experts_implementation="eager")
    return model.to(device).eval()


def document_loss(model, document, labels):
    """Loss sum, trained tokens and logits of one document. labels[i] belongs to position i: the shift is here."""
    device = model.device
    logits = model(torch.tensor([document], device=device), use_cache=False).logits[0].float()
    targets = torch.tensor(labels[1:], device=device, dtype=torch.long)
    loss = F.cross_entropy(logits[:-1], targets, ignore_index=-100, reduction="sum")
    return loss, int((targets != -100).sum()), logits.detach()


def hugging_face_names(name, tensor):
    """The checkpoint's names of a parameter: transformers 5 fuses experts in memory and saves them apart."""
    if not name.endswith((".mlp.experts.gate_up_proj", ".mlp.experts.down_proj")):
        return {name: tensor}
    prefix, kind = name.rsplit(".", 1)
    named = {}
    for expert, matrix in enumerate(tensor):
        parts = zip(("gate", "up"), matrix.chunk(2)) if kind == "gate_up_proj" else [("down", matrix)]
        named.update({f"{prefix}.{expert}.{part}_proj.weight": piece for part, piece in parts})
    return named


def forward_backward(model, documents, labels):
    """Sums over documents that are run apart."""
    model.zero_grad()
    loss_sum, tokens, logits = 0.0, 0, []
    for document, document_labels in zip(documents, labels):
        loss, count, document_logits = document_loss(model, document, document_labels)
        loss.backward()
        loss_sum, tokens = loss_sum + loss.item(), tokens + count
        logits.append(document_logits.cpu())
    grads = {}
    for name, weight in model.named_parameters():
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        grads.update(hugging_face_names(name, grad.float().cpu() / tokens))
    return Result(loss_sum, tokens, torch.cat(logits), grads)


def one_forward(model, documents, labels):
    """(output, trained tokens) of the documents as one flattened sequence, with the loss that the model itself returns.

    Positions that restart are how transformers knows packed documents apart; what begins a document has no label.
    """
    ids, positions, targets = [], [], []
    for document, row in zip(documents, labels):
        ids += document
        positions += range(len(document))
        targets += [-100, *row[1:]]
    flat = [torch.tensor([values], device=model.device) for values in (ids, positions, targets)]
    output = model(input_ids=flat[0], position_ids=flat[1], labels=flat[2], use_cache=False)
    return output, int((flat[2] != -100).sum())


def forward_backward_of_the_loss(model, documents, labels):
    """The gradients of the model's own loss, with every term that its config.json asks for."""
    model.zero_grad()
    output, tokens = one_forward(model, documents, labels)
    output.loss.backward()
    grads = {}
    for name, weight in model.named_parameters():
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        grads.update(hugging_face_names(name, grad.float().cpu()))
    return Result(output.loss.item() * tokens, tokens, output.logits[0].detach().float().cpu(), grads)


def relative_error(ours, theirs):
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


def cosine(a, b):
    a, b = a.double().flatten(), b.double().flatten()
    return (a @ b / (a.norm() * b.norm())).item()


def gradient_errors(ours, theirs):
    """Per parameter ||ours - theirs|| / max(||theirs||, floor).

    The floor is 1e-3 of the norm of all gradients together, 1e-7 of it being what fp32 rounding leaves in a sum of that
    size: with a bound of 1e-4 a tensor whose gradient nearly cancels is held to 1e-7 of the whole and not to its own
    rounding noise.
    """
    assert set(ours) == set(theirs), sorted(set(ours) ^ set(theirs))
    whole = torch.stack([grad.double().norm() for grad in theirs.values()]).norm()
    errors = {}
    for name, reference in theirs.items():
        assert ours[name].shape == reference.shape, name
        scale = max(reference.double().norm(), 1e-3 * whole)
        errors[name] = ((ours[name].double() - reference.double()).norm() / scale).item()
    return errors


def adamw(model, learning_rate, weight_decay, betas=(0.9, 0.999), eps=1e-8):
    """Weight decay on matrices, embeddings included; none on norms and biases."""
    weights = [weight for weight in model.parameters()]
    groups = [{"params": [w for w in weights if w.ndim >= 2], "weight_decay": weight_decay},
              {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=eps)


def learning_rates(kind, peak, warmup, steps):
    """The learning rate of each step, by transformers' scheduler."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def train(model, documents, labels, steps, learning_rate, weight_decay, max_grad_norm, **adam):
    """AdamW steps, each on all documents. Returns the loss before each step and after the last, and gradient norms.

    learning_rate: one number, or a list of each step's; adam: betas and eps.
    """
    rates = learning_rate if isinstance(learning_rate, list) else [learning_rate] * steps
    optimizer = adamw(model, rates[0], weight_decay, **adam)
    losses, norms = [], []
    for step in range(steps + 1):
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rates[min(step, steps - 1)]
        total = sum(sum(label != -100 for label in row[1:]) for row in labels)
        loss_sum = 0.0
        with contextlib.nullcontext() if step < steps else torch.no_grad():
            for document, row in zip(documents, labels):
                loss = document_loss(model, document, row)[0] / total
                loss_sum += loss.item()
                if step < steps:
                    loss.backward()
        losses.append(loss_sum)
        if step < steps:
            limit = max_grad_norm or float("inf")
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), limit).item())
            optimizer.step()
    return losses, norms
