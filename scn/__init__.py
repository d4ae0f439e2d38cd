"""Image restoration with Scale-wise Convolutional Networks: from corpora to published models.

    load(reference, device=None)    a model, ready to use: Model
    restore(image, model)           an image restored: array, tensor, Pillow image or path; by models, or "auto"
    list_models()                   the models that `load` finds by name: ModelEntry, each
    create_model(name, ...)         a new network with initial weights: a torch module
    list_networks()                 the networks that `create_model` makes: Network, each

A mistake of the caller raises UserError, whose message says in one sentence what was wrong, where, and what to do.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from scn.core.openmp import limit_threads, wait_briefly

if TYPE_CHECKING:
    from scn.core.errors import UserError
    from scn.inference.handle import Model
    from scn.networks import Network, list_networks
    from scn.networks.build import create_model
    from scn.registry.reference import ModelEntry, list_models, load
    from scn.registry.several import restore

    __version__: str

__all__ = [
    "Model",
    "ModelEntry",
    "Network",
    "UserError",
    "__version__",
    "create_model",
    "list_models",
    "list_networks",
    "load",
    "restore",
]

limit_threads()
wait_briefly()  # here, as whatever of this project imports PyTorch has imported this package before

_HOMES = {
    "Model": "scn.inference.handle",
    "ModelEntry": "scn.registry.reference",
    "Network": "scn.networks",
    "UserError": "scn.core.errors",
    "create_model": "scn.networks.build",
    "list_models": "scn.registry.reference",
    "list_networks": "scn.networks",
    "load": "scn.registry.reference",
    "restore": "scn.registry.several",
}
"""Name -> the module that it is imported from when it is first used: `import scn` itself brings no PyTorch."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from scn.core.version import project_version

        value: object = project_version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'scn' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
