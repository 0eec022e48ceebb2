"""PEFT adapters for the tests, with a B that is not zero."""
import json
import pathlib
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

import reference

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
PREFIX = "base_model.model."


def is_linear(name, targets):
    return name.endswith("_proj.weight") and name.split(".")[-2] in targets


def random_tensors(model_folder, targets, r, seed=5):
    """{PEFT name: tensor} of adapters of these linears in module form, as of transformers 4."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in load_file(pathlib.Path(model_folder) / "model.safetensors").items():
        if is_linear(name, targets):
            rows, columns = weight.shape
            module = PREFIX + name.removesuffix(".weight")
            tensors[module + ".lora_A.weight"] = torch.randn(r, columns, generator=generator) * columns**-0.5
            tensors[module + ".lora_B.weight"] = torch.randn(rows, r, generator=generator) * 0.2
    return tensors


def config(model_folder, targets, r, alpha, **changes):
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(model_folder), "r": r,
            "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none", "target_modules": list(targets),
            "use_rslora": False, "inference_mode": True, "modules_to_save": None, **changes}


def write(folder, tensors, fields):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors",
              metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(fields, indent=2))
    return folder


def make(model_folder, folder, targets, r=3, alpha=7, seed=5, **changes):
    """An adapter in module form on disk."""
    return write(folder, random_tensors(model_folder, targets, r, seed), config(model_folder, targets, r, alpha,
                                                                                **changes))


def read(folder):
    folder = pathlib.Path(folder)
    return load_file(folder / "adapter_model.safetensors"), json.loads((folder / "adapter_config.json").read_text())


def merge_by_hand(model_folder, tensors, scale):
    """{name: W + scale B A} of the model, from adapters in module form."""
    merged = load_file(pathlib.Path(model_folder) / "model.safetensors")
    for name in list(merged):
        module = PREFIX + name.removesuffix(".weight")
        if module + ".lora_A.weight" in tensors:
            a, b = (tensors[f"{module}.lora_{x}.weight"] for x in "AB")
            merged[name] = merged[name] + scale * b @ a
    return merged


def load(model_folder, folder, trainable=False):
    """The model with the adapter, by PEFT; its complaints of missing or unknown tensors are errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected) adapter keys.*")
        # PEFT says so of patterns that it has itself made for experts, and applies.
        warnings.filterwarnings("ignore", message=".*pattern keys did not match.*")
        return PeftModel.from_pretrained(reference.load(model_folder), folder, is_trainable=trainable).eval()


def train_natively(model_folder, folder, seed=6, **fields):
    """An adapter that PEFT made for the transformers of today: random A and B, saved."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(reference.load(model_folder),
                               LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **fields))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    return model.eval()


def train_kind(model_folder, folder, seed=6, **fields):
    """The same with every tensor that is trained, also those that are trained whole, away from its start."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(reference.load(model_folder),
                               LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **fields))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.requires_grad:
                    change = 0.1 * torch.randn_like(weight)
                    matrix = "lora_A" in name or "lora_B" in name
                    weight.copy_(change if matrix else weight + change)
        model.save_pretrained(folder)
    return model.eval()


def forward_backward(model, documents, labels):
    """reference.forward_backward of a PEFT model: the gradients are those of its adapters, by our names."""
    model.zero_grad()
    result = reference.Result(0.0, 0, None, {})
    rows = []
    for document, document_labels in zip(documents, labels):
        loss, count, logits = reference.document_loss(model, document, document_labels)
        if loss.requires_grad:
            loss.backward()
        result.loss_sum, result.tokens = result.loss_sum + loss.item(), result.tokens + count
        rows.append(logits)
    result.logits = torch.cat(rows)
    result.grads = module_gradients(model, result.tokens)
    return result


def module_gradients(model, tokens):
    """PEFT's gradients by our names: those of experts, which PEFT holds joined, taken apart."""
    grads = {}
    parameters = {name.removeprefix(PREFIX): module.parameter_name for name, module in model.named_modules()
                  if hasattr(module, "parameter_name")}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        name = name.removeprefix(PREFIX).replace(".default", "").replace(".modules_to_save", "")
        name = name.replace(".base_layer.bias", ".bias").replace("magnitude_vector.weight", "magnitude_vector")
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad / tokens
        if ".mlp.experts." in name:
            module, matrix, _ = name.rsplit(".", 2)
            grads.update(_apart(module, matrix, grad, parameters[module], model.config.num_experts))
        else:
            grads[name] = grad
    return grads


def _apart(module, matrix, grad, parameter, experts):
    """PEFT's expert tensors A [E R, in], B [out, R E] as one a module."""
    stem = module.removesuffix(".base_layer")
    parts = ["gate", "up"] if parameter == "gate_up_proj" else ["down"]
    if matrix == "lora_A":
        pieces = grad.view(experts, len(parts), -1, grad.shape[1]).unbind(1)
    else:
        whole = grad.view(grad.shape[0], -1, experts).permute(2, 0, 1)  # [E, out, R]
        rows, rank = whole.shape[1] // len(parts), whole.shape[2] // len(parts)
        pieces = [whole[:, i * rows:(i + 1) * rows, i * rank:(i + 1) * rank] for i in range(len(parts))]
    return {f"{stem}.{e}.{part}_proj.{matrix}.weight": piece[e].contiguous()
            for part, piece in zip(parts, pieces) for e in range(experts)}
