"""The layout of the authors' checkpoints, for the golden vectors."""

import torch


def convert(state: dict[str, torch.Tensor], blocks: int) -> dict[str, torch.Tensor]:
    """Keys of the authors' SCN -> keys of ours (weight_g, weight_v -> original0, original1)."""
    prefixes = {"body.0.": "head.", "skip.0.": "skip."}
    for i in range(blocks):
        ours = {
            "body.0.": "expand.",
            "body.2.": "scale_wise.spatial.",
            "down.0.": "scale_wise.cross.finer1.",
            "up.0.": "scale_wise.cross.coarser1.",
        }
        prefixes |= {f"body.{i + 2}.{theirs}": f"trunk.blocks.{i}.{mine}" for theirs, mine in ours.items()}
    # The tail is the only layer directly under `body` besides the head; its index depends on blocks and scale.
    prefixes |= {f"body.{i}.": "tail." for i in (blocks + 2, blocks + 3)}
    leaves = {
        "bias": "bias",
        "weight_g": "parametrizations.weight.original0",
        "weight_v": "parametrizations.weight.original1",
    }
    converted = {}
    for key, tensor in state.items():
        prefix, _, leaf = key.rpartition(".")
        converted[prefixes[prefix + "."] + leaves[leaf]] = tensor
    return converted
