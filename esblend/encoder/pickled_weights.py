"""Converts a model folder's pickled weights to safetensors: `python -m esblend.encoder.pickled_weights FOLDER`.

PyTorch reads the pickled files in its restricted mode, which builds tensors and runs no code from the file.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

_INDEX = "pytorch_model.bin.index.json"


def convert(folder: Path) -> list[Path]:
    """Write a safetensors file beside each `*.bin` file of weights in `folder` and its modules' folders; give those written.

    Modules that have safetensors already are left alone. The pickled files stay.
    """
    written = []
    for pickled in sorted(folder.rglob("pytorch_model*.bin")):
        target = pickled.with_name(pickled.name.replace("pytorch_model", "model").replace(".bin", ".safetensors"))
        if target.is_file() or (pickled.parent / "model.safetensors").is_file():
            continue
        _convert_file(pickled, target)
        written.append(target)
    for index in sorted(folder.rglob(_INDEX)):
        content = json.loads(index.read_text("utf-8"))
        content["weight_map"] = {
            name: file.replace("pytorch_model", "model").replace(".bin", ".safetensors")
            for name, file in content["weight_map"].items()
        }
        (index.parent / "model.safetensors.index.json").write_text(json.dumps(content, indent=2), "utf-8")
    return written


def _convert_file(pickled: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = torch.load(pickled, map_location="cpu", weights_only=True)
    # safetensors refuses tensors that share memory, so each becomes a separate copy.
    tensors = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    partial = target.with_suffix(".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.rename(target)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise SystemExit("usage: python -m esblend.encoder.pickled_weights FOLDER")
    folder = Path(arguments[0])
    try:
        written = convert(folder)
    except Exception as error:  # any exception that PyTorch raises for a file that it cannot read
        raise SystemExit(f"the weights in {folder} cannot be converted: {error}") from error
    if not written:
        raise SystemExit(f"{folder} has no pickled weights (pytorch_model*.bin) that need to be converted")
    sys.stdout.write("".join(f"wrote {file}\n" for file in written))


if __name__ == "__main__":
    main(sys.argv[1:])
