"""What happens to each Ludwig module once it is imported: the one place that changes Ludwig.

Every function takes the imported module. The work stands in the modules that are imported here, late: Ludwig is only
partly loaded when a hook runs.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def replace(owner: Any, name: str, wrapper: Callable) -> None:
    """Replace ``owner.name`` by ``wrapper(original, *args, **kwargs)``, also where Ludwig has copied it to.

    A Ludwig that was imported before this package holds copies of a function in the modules that import it by name.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    setattr(owner, name, staticmethod(replacement) if static else replacement)
    if isinstance(owner, ModuleType):
        for module_name, module in list(sys.modules.items()):
            if module_name.startswith("ludwig.") and vars(module).get(name) is original:
                setattr(module, name, replacement)


def register(metric_modules: ModuleType) -> None:
    """Register every loss of the pack and of its plug-ins, and the metrics of feature types; let metrics stay in
    place."""
    import ludwig_losses.losses
    import ludwig_losses.metrics.anomaly
    import ludwig_losses.metrics.segmentation  # noqa: F401
    from ludwig_losses import plugins
    from ludwig_losses.host import metrics
    from ludwig_losses.host.registry import complete_metrics, losses_by_feature, register_term_metrics
    from ludwig_losses.metrics.terms import TermsMetric, name_of_term

    metric_modules.LudwigMetric.stays_in_place = False
    replace(metric_modules.LudwigMetric, "to", metrics.move)
    plugins.load()
    complete_metrics()
    # hyperopt.metric takes what is registered by now.
    for feature, names in losses_by_feature().items():
        register_term_metrics(TermsMetric, map(name_of_term, names), [feature])


def check_written_configs(backward_compatibility: ModuleType) -> None:
    """Check loss sections as the user wrote them, before Ludwig changes or trips over them."""
    from ludwig_losses.host.validation import names, written

    def upgrade(original: Callable, config: dict[str, Any]) -> dict[str, Any]:
        from ludwig_losses.host.anomaly import schema

        config = names.plain_losses(config)
        written.check_raw_config(config)
        schema.check_features(config)
        return names.keep_words(original, schema.spread_defaults(config))

    replace(backward_compatibility, "upgrade_config_dict_to_latest_version", upgrade)


def check_configs(model_types: ModuleType) -> None:
    """Check loss sections that come from defaults or a saved model, and what sections say together; choose the
    validation metric."""
    from ludwig_losses.host.anomaly import schema
    from ludwig_losses.host.validation import names, parsed, written

    def check_schema(original: Callable, config: dict[str, Any]) -> Any:
        written.check_raw_config(config)
        schema.check_features(config)
        names.name_classes(config)
        return original(config)

    replace(model_types, "check_schema", check_schema)
    replace(model_types, "set_validation_parameters", parsed.set_validation_parameters)
    replace(model_types.ModelConfig, "from_dict", parsed.parse)


def resolve_classes(feature_registries: ModuleType) -> None:
    """Resolve class names in loss parameters once the vocabulary is known; provide the anomaly feature."""
    from ludwig_losses.host import classes
    from ludwig_losses.host.anomaly import feature

    replace(feature_registries, "update_config_with_metadata", classes.update_config_with_metadata)
    for registry, cls in (
        ("get_base_type_registry", feature.AnomalyFeatureMixin),
        ("get_output_type_registry", feature.AnomalyOutputFeature),
    ):
        replace(feature_registries, registry, feature.with_anomaly(cls))


def project_category_predictions(category_feature: ModuleType) -> None:
    """Predict with the projection that the loss trains."""
    from ludwig_losses.host import predictions

    owner = category_feature.CategoryOutputFeature
    replace(owner, "create_predict_module", predictions.create_category_predict_module)
    replace(owner, "get_prediction_set", predictions.get_prediction_set)


def project_binary_predictions(binary_feature: ModuleType) -> None:
    """Predict with the projection that the loss trains."""
    from ludwig_losses.host import predictions

    owner = binary_feature.BinaryOutputFeature
    replace(owner, "create_predict_module", predictions.create_binary_predict_module)
    replace(owner, "get_prediction_set", predictions.get_prediction_set)


def report_metrics_of_losses(base_feature: ModuleType) -> None:
    """Report the metrics that belong to the type or the loss of a feature."""
    from ludwig_losses.host import evaluation

    replace(base_feature.OutputFeature, "_setup_metrics", evaluation.create_metrics)


def project_sequence_predictions(sequence_feature: ModuleType) -> None:
    """Predict with the projection that the loss trains; text features inherit it."""
    from ludwig_losses.host import predictions

    replace(sequence_feature.SequenceOutputFeature, "create_predict_module", predictions.create_predict_module)


def evaluate_images(predictor: ModuleType) -> None:
    """Evaluate image features although Ludwig does not load their targets."""
    from ludwig_losses.host import evaluation
    from ludwig_losses.host.anomaly import training

    replace(predictor.Predictor, "batch_evaluation", training.measure)
    replace(predictor, "calculate_overall_stats", evaluation.calculate_overall_stats)


def separate_caches(cache_manager: ModuleType) -> None:
    """Keep data that was split by pairs apart from data that was split by rows."""
    from ludwig_losses.host import pairs

    replace(cache_manager, "calculate_checksum", pairs.calculate_checksum)


def prepare_data(preprocessing: ModuleType) -> None:
    """Keep pairs of rows together from the file to the data set, and give all ranks of a training the same data."""
    from ludwig_losses.host import distributed, pairs
    from ludwig_losses.host.anomaly import labels

    replace(preprocessing, "build_dataset", pairs.build_dataset)
    replace(preprocessing, "build_dataset", labels.build_dataset)
    replace(preprocessing, "split_dataset", pairs.split_dataset)
    replace(preprocessing, "load_hdf5", pairs.load_hdf5)
    replace(preprocessing, "preprocess_for_training", pairs.preprocess_for_training)
    replace(preprocessing, "preprocess_for_prediction", pairs.preprocess_for_prediction)
    replace(preprocessing, "load_hdf5", distributed.load_hdf5)
    replace(preprocessing, "preprocess_for_training", distributed.preprocess_for_training)


def fold_pairs(api: ModuleType) -> None:
    """Cross-validate on folds of pairs."""
    from ludwig_losses.host import pairs

    replace(api, "generate_kfold_splits", pairs.generate_kfold_splits)
    replace(api, "kfold_cross_validate", pairs.kfold_cross_validate)


def train_together(trainer: ModuleType) -> None:
    """Refuse to train a loss that compares rows on data that was preprocessed for another loss, to choose the best
    model by a metric that the validation data does not have, and soft labels that are no distributions; let all ranks
    of a training decide alike; keep centre, radius and threshold of anomaly features."""
    from ludwig_losses.host import distributed, evaluation, pairs, soft_labels
    from ludwig_losses.host.anomaly import training

    replace(trainer.Trainer, "train", pairs.train)
    replace(trainer.Trainer, "train", evaluation.train)
    replace(trainer.Trainer, "train", soft_labels.train)
    replace(trainer.Trainer, "train", training.train)
    replace(trainer.Trainer, "_train_loop", training.train_epoch)
    replace(trainer.Trainer, "run_evaluation", training.evaluate)
    replace(trainer.Trainer, "tune_batch_size", training.tune_batch_size)
    replace(trainer, "append_metrics", distributed.append_metrics)
    replace(trainer.Trainer, "_has_nan_or_inf_weights", distributed.has_nan_or_inf_weights)


def complete_vectors(vector_feature: Any) -> None:
    """Predict probabilities for soft labels. Let Ludwig 0.11 measure vectors under Ray: Dask finds out what a mapping
    returns by mapping a bare object."""
    from ludwig_losses.host import soft_labels

    replace(vector_feature.VectorOutputFeature, "create_predict_module", soft_labels.create_predict_module)
    vector_feature.len = lambda vector: len(vector) if hasattr(vector, "__len__") else 0


def train_one_model_under_ray(ray_backend: ModuleType) -> None:
    """Let several workers of Ray train one model, and refuse more than fit on the cluster before the data is read."""
    from ludwig.data import preprocessing

    from ludwig_losses.host import ray

    replace(preprocessing, "preprocess_for_training", ray.preprocess_for_training)
    replace(ray_backend, "run_train_remote", ray.run_train_remote)
    replace(ray_backend, "TorchTrainer", ray.create_trainer)
    replace(ray_backend, "train_fn", ray.train_fn)
    replace(ray_backend, "eval_fn", ray.eval_fn)


def judge_searches(hyperopt_run: ModuleType) -> None:
    """Say when a search compares losses on different scales."""
    from ludwig_losses.host import search

    replace(hyperopt_run, "hyperopt", search.hyperopt)


def shuffle_pairs(pandas_dataset: Any) -> None:
    """Shuffle pairs instead of rows; shard the data of an evaluation without repeating any."""
    from ludwig_losses.host import pairs, sharding

    # Only here: elsewhere it stays the class that it is.
    pandas_dataset.DistributedSampler = functools.partial(pairs.sampler, pandas_dataset.DistributedSampler)
    replace(pandas_dataset.PandasDataset, "initialize_batcher", pairs.initialize_batcher)
    replace(pandas_dataset.PandasDataset, "initialize_batcher", sharding.initialize_batcher)
