"""Ways to damage a good model folder or data file, for test_bad_input.py."""
import json
import struct

from tiny_models import edit_json, edit_weights, split_into_shards


def change_config(**changes):
    """None removes a key."""
    def change(config):
        for key, value in changes.items():
            if value is None:
                config.pop(key, None)
            else:
                config[key] = value
    return lambda model: edit_json(model / "config.json", change)


def change_tensor(name, change):
    return lambda model: edit_weights(model, lambda tensors: tensors.update({name: change(tensors[name])}))


def remove_tensor(name):
    return lambda model: edit_weights(model, lambda tensors: tensors.pop(name))


def add_tensor(name, source):
    return lambda model: edit_weights(model, lambda tensors: tensors.update({name: tensors[source].clone()}))


def remove_files(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def write_file(name, content):
    def write(folder):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return write


def shards(change):
    """Splits the weights into three shards, then damages them."""
    def damage(model):
        split_into_shards(model, 3)
        change(model)
    return damage


def truncate(name, keep):
    """keep: a share of the file's bytes, or their number."""
    def cut(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:int(keep * len(content)) if keep < 1 else keep])
    return cut


# Safetensors: u64 length of the header, its JSON, the data.

def header_text(change):
    """The header's text changed by a function of str, its length set accordingly."""
    def damage(model):
        path = model / "model.safetensors"
        content = path.read_bytes()
        length, = struct.unpack("<Q", content[:8])
        header = change(content[8:8 + length].decode()).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length:])
    return damage


def header_entry(name, change):
    """One tensor's entry changed by a function of the dict."""
    def edit(text):
        header = json.loads(text)
        change(header[name])
        return json.dumps(header)
    return header_text(edit)


def claimed_header_length(length):
    def damage(model):
        path = model / "model.safetensors"
        path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    return damage
