"""Activation: hooks that run when Ludwig itself imports the modules they complete.

Ludwig has no plug-in mechanism. The start-up file of the installed package calls :func:`install` in every Python
process, so this module is imported by processes that never use Ludwig: it needs nothing beyond what the interpreter
has loaded already.
"""

import os
import sys

TYPE_CHECKING = False  # for type checkers, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

DISABLE = "LUDWIG_LOSSES_DISABLE"

# Ludwig module -> what to do once it is imported, in the order in which a running Ludwig is completed.
HOOKS = {
    "ludwig.modules.metric_modules": "ludwig_losses.host.hooks:register",
    "ludwig.utils.backward_compatibility": "ludwig_losses.host.hooks:check_written_configs",
    "ludwig.schema.model_types.base": "ludwig_losses.host.hooks:check_configs",
    "ludwig.features.feature_registries": "ludwig_losses.host.hooks:resolve_classes",
    "ludwig.features.base_feature": "ludwig_losses.host.hooks:report_metrics_of_losses",
    "ludwig.features.binary_feature": "ludwig_losses.host.hooks:project_binary_predictions",
    "ludwig.features.category_feature": "ludwig_losses.host.hooks:project_category_predictions",
    "ludwig.features.sequence_feature": "ludwig_losses.host.hooks:project_sequence_predictions",
    "ludwig.features.image_feature": "ludwig_losses.host.hooks:read_masks",
    "ludwig.features.vector_feature": "ludwig_losses.host.hooks:complete_vectors",
    "ludwig.models.predictor": "ludwig_losses.host.hooks:evaluate_images",
    "ludwig.data.cache.manager": "ludwig_losses.host.hooks:separate_caches",
    "ludwig.data.preprocessing": "ludwig_losses.host.hooks:prepare_data",
    "ludwig.data.dataset.pandas": "ludwig_losses.host.hooks:shuffle_pairs",
    "ludwig.trainers.trainer": "ludwig_losses.host.hooks:train_together",
    "ludwig.backend.ray": "ludwig_losses.host.hooks:train_one_model_under_ray",
    "ludwig.hyperopt.run": "ludwig_losses.host.hooks:judge_searches",
    "ludwig.api": "ludwig_losses.host.hooks:fold_pairs",
}


class _Finder:
    """Finds nothing itself: it lets the other finders find a hooked module and adds the hook to its execution."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name not in HOOKS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is _Finder else finder.find_spec(name, path, target)
            if spec is not None:
                loader: Any = spec.loader
                loader.exec_module = _then_hook(name, loader.exec_module)
                return spec
        return None


def _then_hook(name: str, execute: "Callable[[ModuleType], None]") -> "Callable[[ModuleType], None]":
    def exec_module(module: "ModuleType") -> None:
        execute(module)
        _run_hook(name)

    return exec_module


def disabled() -> bool:
    """Whether the user has switched the package off."""
    return os.environ.get(DISABLE, "").strip().lower() not in ("", "0", "false", "no")


def install() -> None:
    """Hook into Ludwig, whether it is imported later or has been imported already. Calling it again does nothing."""
    if disabled() or _Finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _Finder)
    for name in HOOKS:
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            _run_hook(name)


def _run_hook(name: str) -> None:
    """Run the hook of one Ludwig module; a hook that fails costs its feature, with a warning, and never Ludwig."""
    target, _, function = HOOKS[name].partition(":")
    try:
        getattr(__import__(target, fromlist=[function]), function)(sys.modules[name])
    except Exception as error:
        import traceback
        import warnings

        warnings.warn(
            f"ludwig-losses could not complete {name} ({function.replace('_', ' ')}): "
            f"{type(error).__name__}: {error}. Ludwig goes on without it; {DISABLE}=1 silences this.\n"
            + "".join(traceback.format_tb(error.__traceback__)[-2:]),
            RuntimeWarning,
            stacklevel=2,
        )
