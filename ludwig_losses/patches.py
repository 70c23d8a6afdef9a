"""Everything that this package changes in Ludwig: one table, which names no code of Ludwig but as text.

A :class:`Patch` puts a wrapper around a function, method or class of Ludwig. Patches that only make sense together form
a :class:`Group`: all of a group are in place, or none. Where Ludwig lacks a target, or the target does not take the
parameters that the wrapper relies on, the group is switched off with one warning, what needs it refuses to train,
evaluate and predict (:mod:`ludwig_losses.host.contract`), and everything else goes on.

Of several patches of one target, a later one in this table wraps an earlier one. ``ludwig-losses patches`` prints which
groups are in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Patch(NamedTuple):
    """One change of Ludwig.

    Args:
        target: what is wrapped, ``module:name`` or ``module:Class.name``; a module alone is completed, not wrapped.
        wrapper: the function of this package, ``module:name``, called with the original first; for a module alone,
            the function that completes it; empty where the package calls or overrides the target itself.
        why: what would be wrong without it.
        obsolete: what Ludwig would have to do for the patch to go.
        uses: parameters of the target that the wrapper looks up by name, beside those in its own signature.
        when: the module whose import puts the patch in place, if it is not that of the target.
        only_here: leave alone the modules that have imported the target by name.
        only_with: what older versions of Ludwig lack together with the target, ``module:name``, or ``module:name
            parameter`` for a parameter of it. Where neither is there, the patch has no reason.
        versions: the versions of Ludwig that need it.
    """

    target: str
    wrapper: str
    why: str
    obsolete: str
    uses: tuple[str, ...] = ()
    when: str = ""
    only_here: bool = False
    only_with: str = ""
    versions: str = "0.11 to 0.17"

    @property
    def module(self) -> str:
        """The module that the target is in."""
        return self.target.partition(":")[0]

    @property
    def name(self) -> str:
        """The name of the target in its module; empty for a module that is completed."""
        return self.target.partition(":")[2]

    @property
    def hook(self) -> str:
        """The module after whose import the patch is put in place."""
        return self.when or self.module


class Group(NamedTuple):
    """Patches that are in place together.

    Args:
        name: one word or two, unique.
        purpose: what they are for, in words that complete "X needs ...".
        needed_by: which losses or features refuse without it; empty if all can do without.
        patches: in the order in which they wrap.
    """

    name: str
    purpose: str
    needed_by: str
    patches: tuple[Patch, ...]


_HOST = "ludwig_losses.host"
_CREATES = "losses could name the function from logits to probabilities"

GROUPS = (
    Group(
        "losses",
        "its schema, module and metric in Ludwig's registries",
        "all losses of this package",
        (
            Patch(
                "ludwig.modules.metric_modules",
                "ludwig_losses.losses:register",
                "Ludwig would not know the losses of this package and of its plug-ins, nor their metrics.",
                "Ludwig had a plug-in mechanism, such as an entry point that it loads.",
            ),
            Patch(
                "ludwig.config_validation.checks",
                f"{_HOST}.config.ludwigs_check:register_check",
                "Where the checks of configurations are not in place, only the module of a loss could refuse.",
                "messages of register_config_check reached the user as they are on every version.",
            ),
        ),
    ),
    Group(
        "registries",
        "a look at whether the losses have been registered",
        "",
        (
            Patch(
                "ludwig.api",
                f"{_HOST}.contract:warn_if_nothing_is_registered",
                "Where Ludwig's registries have moved, no one would say why it does not know the losses.",
                "Ludwig had a plug-in mechanism, such as an entry point that it loads.",
            ),
        ),
    ),
    Group(
        "backends",
        "a look at where a model is to be trained",
        "",
        (
            Patch(
                "ludwig.api:LudwigModel.train",
                f"{_HOST}.contract:train_on_known_backend",
                "Where the parts for Ray are not in place, each worker trains a model of its own in silence.",
                "Ludwig's workers used its strategy for several ranks.",
            ),
        ),
    ),
    Group(
        "anomaly",
        "a centre, a radius, a threshold and its feature type",
        "anomaly features",
        (
            Patch(
                "ludwig.features.feature_registries:get_base_type_registry",
                f"{_HOST}.anomaly.feature:with_mixin",
                "There is no anomaly feature, or one that does not train.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.features.feature_registries:get_output_type_registry",
                f"{_HOST}.anomaly.feature:with_output_feature",
                "There is no anomaly feature, or one that does not train.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.utils.backward_compatibility:upgrade_config_dict_to_latest_version",
                f"{_HOST}.anomaly.schema:check_and_spread_defaults",
                "Mistakes in the feature pass in silence, and defaults.anomaly is refused.",
                "Ludwig knew the section and refused unknown parameters.",
                when="ludwig.schema.model_types.base",
            ),
            Patch(
                "ludwig.schema.model_types.base:check_schema",
                f"{_HOST}.anomaly.schema:check_anomaly_features",
                "Mistakes in the feature pass in silence.",
                "Ludwig refused unknown parameters.",
                when="ludwig.schema.model_types.base",
            ),
            Patch(
                "ludwig.data.preprocessing:build_dataset",
                f"{_HOST}.anomaly.labels:add_missing_labels",
                "Data without labels is refused.",
                "a feature type could say what a missing column means.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.anomaly.training:train_with_threshold",
                "The loss does not see the inputs that it perturbs.",
                "a loss saw the inputs of a batch.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer._train_loop",
                f"{_HOST}.anomaly.training:train_epoch",
                "The centre stays 0 and the radius too.",
                "a feature were called before and after each epoch.",
                uses=("progress_tracker", "training_set", "validation_set"),
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.tune_batch_size",
                f"{_HOST}.anomaly.training:tune_before_centre",
                "The search for a batch size trains without a centre.",
                "a feature were called before the search.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.run_evaluation",
                f"{_HOST}.anomaly.training:set_threshold_and_evaluate",
                "The threshold stays infinite: no row is flagged.",
                "a feature were called before each evaluation.",
                uses=("progress_tracker", "training_set", "validation_set"),
            ),
            Patch(
                "ludwig.models.predictor:Predictor.batch_evaluation",
                f"{_HOST}.anomaly.training:evaluate_with_adversary",
                "The loss of an evaluation lacks the points that the loss of the training has.",
                "a loss saw the inputs of a batch.",
            ),
            Patch(
                "ludwig.features.number_feature:NumberFeatureMixin.add_feature_data",
                "",
                "The anomaly feature has one of its own, as every feature type.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.features.base_feature:OutputFeature.create_predict_module",
                "",
                "The anomaly feature has one of its own.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.features.base_feature:OutputFeature.get_prediction_set",
                "",
                "The anomaly feature has one of its own.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.features.base_feature:OutputFeature.calculate_overall_stats",
                "",
                "The anomaly feature has one of its own.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.features.base_feature:OutputFeature.update_config_with_metadata",
                "",
                "The anomaly feature has one of its own.",
                "Ludwig's own anomaly feature trained.",
            ),
            Patch(
                "ludwig.data.dataset.pandas:PandasDataset.initialize_batcher",
                "",
                "The centre and the threshold are found by reading the data with it.",
                "Ludwig's own anomaly feature trained.",
            ),
        ),
    ),
    Group(
        "configurations",
        "its section of the configuration to be checked",
        "all losses of this package",
        (
            Patch(
                "ludwig.utils.backward_compatibility:upgrade_config_dict_to_latest_version",
                f"{_HOST}.config.written:check_as_written",
                "Mistakes in a loss section pass in silence, and class_weights: balanced becomes null.",
                "Ludwig refused unknown parameters with its own messages, and left words in class_weights alone.",
            ),
            Patch(
                "ludwig.schema.model_types.base:check_schema",
                f"{_HOST}.config.written:check_rendered",
                "The same for sections that come from defaults or a saved model; class names stay numbers or booleans.",
                "Ludwig refused unknown parameters with its own messages, and read class names as text.",
            ),
            Patch(
                "ludwig.schema.model_types.base:ModelConfig.from_dict",
                f"{_HOST}.config.parsed:parse_and_check",
                "Parameters that contradict each other, or other sections, pass in silence.",
                "messages of register_config_check reached the user as they are on every version.",
            ),
        ),
    ),
    Group(
        "evaluation loss",
        "the combined loss of an evaluation to be that of all rows",
        "all losses of this package",
        (
            Patch(
                "ludwig.models.base:BaseModel.get_metrics",
                f"{_HOST}.model.evaluation:get_metrics",
                "The combined loss weighs all batches alike, and depends on their size.",
                "Ludwig summed the losses of the features.",
            ),
        ),
    ),
    Group(
        "validation metric",
        "the best model to be chosen by its value",
        "losses that Ludwig's default validation metric does not judge",
        (
            Patch(
                "ludwig.schema.model_types.base:set_validation_parameters",
                f"{_HOST}.config.parsed:set_validation_parameters",
                "Training stops at, and keeps, a model that the default metric of the feature type prefers.",
                "a loss could say which metric judges it.",
            ),
        ),
    ),
    Group(
        "classes",
        "names of classes to be resolved by the vocabulary",
        "losses on features with classes",
        (
            Patch(
                "ludwig.features.feature_registries:update_config_with_metadata",
                f"{_HOST}.data.classes:update_config_with_metadata",
                "Class names in parameters stay names; padding counts.",
                "losses were told the vocabulary of their feature.",
            ),
        ),
    ),
    Group(
        "class counts",
        "the rows with each class to be counted",
        "class weights and priors that follow from the data, on binary and set features",
        (
            Patch(
                "ludwig.data.preprocessing:build_metadata",
                f"{_HOST}.data.counts:build_with_counts",
                "How many rows have a class of a binary feature, or a label of a set feature, is not known.",
                "Ludwig counted them, as it does for category features.",
            ),
            Patch(
                "ludwig.data.cache.manager:calculate_checksum",
                f"{_HOST}.data.counts:add_counts_to_checksum",
                "Data that was prepared for another loss, and has no counts, is found in the cache.",
                "Ludwig counted them, as it does for category features.",
            ),
        ),
    ),
    Group(
        "metrics",
        "the metrics and predictions of its feature to be made for it",
        "anomaly features, and losses with metrics or predictions of their own",
        (
            Patch(
                "ludwig.features.base_feature:OutputFeature._setup_metrics",
                f"{_HOST}.model.evaluation:create_metrics",
                "Metrics of the loss are missing, and hits at k come from logits that are in no order.",
                "a loss could bring metrics.",
            ),
            Patch(
                "ludwig.api:LudwigModel.load",
                f"{_HOST}.model.evaluation:load_with_names_of_classes",
                "The F1 of a class of tokens has an index in place of the name, in evaluations of a saved model.",
                "a feature knew its metadata.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.model.evaluation:refuse_missing_metric",
                "A validation metric that the validation data cannot have chooses the first model.",
                "a metric could refuse data.",
            ),
        ),
    ),
    Group(
        "binary predictions",
        "predictions with the probabilities that it trains",
        "losses on binary features that do not predict with a sigmoid",
        (
            Patch(
                "ludwig.features.binary_feature:BinaryOutputFeature.create_predict_module",
                f"{_HOST}.model.predictions:create_binary_predict_module",
                "Probabilities are a sigmoid's, which the loss did not train.",
                _CREATES,
            ),
            Patch(
                "ludwig.features.binary_feature:BinaryOutputFeature.get_prediction_set",
                f"{_HOST}.model.predictions:get_prediction_set",
                "Ray drops the column with the score.",
                "predict modules said which columns they add.",
            ),
        ),
    ),
    Group(
        "category predictions",
        "predictions with the probabilities that it trains",
        "losses on category features that do not predict with a softmax",
        (
            Patch(
                "ludwig.features.category_feature:CategoryOutputFeature.create_predict_module",
                f"{_HOST}.model.predictions:create_category_predict_module",
                "Probabilities are a softmax's, which the loss did not train.",
                _CREATES,
            ),
            Patch(
                "ludwig.features.category_feature:CategoryOutputFeature.get_prediction_set",
                f"{_HOST}.model.predictions:get_prediction_set",
                "Ray drops the column with the score.",
                "predict modules said which columns they add.",
            ),
        ),
    ),
    Group(
        "set predictions",
        "predictions of labels only, with the probability of each",
        "losses on set features",
        (
            Patch(
                "ludwig.features.set_feature:SetOutputFeature.create_predict_module",
                f"{_HOST}.model.labels:create_set_predict_module",
                "<UNK>, which is not trained, is predicted; probabilities are a sigmoid's, whatever was trained.",
                _CREATES,
            ),
            Patch(
                "ludwig.features.set_feature:SetOutputFeature.postprocess_predictions",
                f"{_HOST}.model.labels:postprocess_labels",
                "Predictions have no probabilities below the threshold, and none with the name of its label.",
                "Ludwig kept all probabilities, as it does for categories.",
            ),
        ),
    ),
    Group(
        "sequence predictions",
        "predictions with the probabilities that it trains",
        "losses on text and sequence features that do not predict with a softmax",
        (
            Patch(
                "ludwig.features.sequence_feature:SequenceOutputFeature.create_predict_module",
                f"{_HOST}.model.predictions:create_predict_module",
                "Probabilities are a softmax's, which the loss did not train. Text features inherit it.",
                _CREATES,
            ),
        ),
    ),
    Group(
        "number predictions",
        "a decoder with the outputs that it trains, and predictions that are made of them",
        "losses on number and timeseries features that predict more than Ludwig does",
        (
            Patch(
                "ludwig.features.base_feature:OutputFeature.initialize_decoder",
                f"{_HOST}.model.estimates:initialize_decoder",
                "The decoder gives one number for each target.",
                "a loss could say how many outputs it needs.",
            ),
            Patch(
                "ludwig.features.number_feature:NumberOutputFeature.create_predict_module",
                f"{_HOST}.model.estimates:create_predict_module",
                "Predictions are the numbers of the decoder, not what the loss makes of them.",
                "a loss could make predictions.",
            ),
            Patch(
                "ludwig.features.number_feature:NumberOutputFeature.get_prediction_set",
                f"{_HOST}.model.estimates:get_prediction_set",
                "Ray drops the further columns.",
                "predict modules said which columns they add.",
            ),
            Patch(
                "ludwig.features.number_feature:NumberOutputFeature.postprocess_predictions",
                f"{_HOST}.model.estimates:postprocess_number",
                "Further columns stay in the units of the network.",
                "predict modules said which columns they add.",
            ),
            Patch(
                "ludwig.features.timeseries_feature:TimeseriesOutputFeature.create_predict_module",
                f"{_HOST}.model.estimates:create_predict_module",
                "Predictions are the numbers of the decoder, not what the loss makes of them.",
                "a loss could make predictions.",
            ),
            Patch(
                "ludwig.features.timeseries_feature:TimeseriesOutputFeature.get_prediction_set",
                f"{_HOST}.model.estimates:get_prediction_set",
                "Ray drops the further columns.",
                "predict modules said which columns they add.",
            ),
            Patch(
                "ludwig.features.timeseries_feature:TimeseriesOutputFeature.postprocess_predictions",
                f"{_HOST}.model.estimates:postprocess_timeseries",
                "Further columns stay in the units of the network.",
                "predict modules said which columns they add.",
            ),
        ),
    ),
    Group(
        "first step",
        "a look at its targets before the first step",
        "losses that begin with the mean of the targets",
        (
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.model.beginning:begin_and_train",
                "Negative counts are trained on, and training begins far from the targets.",
                "a loss were told its targets.",
            ),
            Patch(
                "ludwig.models.predictor:Predictor.batch_evaluation",
                f"{_HOST}.model.beginning:check_and_evaluate",
                "A negative count is an error that names neither feature nor row, and on an accelerator NaN.",
                "a loss were told its targets.",
            ),
        ),
    ),
    Group(
        "interval calibration",
        "a pass over the validation rows before each evaluation",
        "losses that calibrate their intervals",
        (
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.model.calibration:train_with_rows_to_calibrate",
                "Too few validation rows make intervals wrong in silence; all of them choose the model.",
                "a loss could say how many rows it needs, and which ones.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.run_evaluation",
                f"{_HOST}.model.calibration:calibrate_and_evaluate",
                "Intervals are not calibrated.",
                "a feature were called before each evaluation.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.evaluation",
                f"{_HOST}.model.calibration:evaluate_without_rows_to_calibrate",
                "Metrics that choose the model depend on the rows that only calibrate.",
                "a feature were called before the evaluation of each split.",
            ),
        ),
    ),
    Group(
        "soft labels",
        "predictions of probabilities, and a check that its targets are some",
        "softmax_cross_entropy on vector features",
        (
            Patch(
                "ludwig.features.vector_feature:VectorOutputFeature.create_predict_module",
                f"{_HOST}.model.soft_labels:predict_distributions",
                "Predictions are logits.",
                "Ludwig completed the pair that it offers.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.model.soft_labels:refuse_bad_distributions",
                "Rows that are no distribution are trained on.",
                "Ludwig completed the pair that it offers.",
            ),
        ),
    ),
    Group(
        "distributions",
        "overall statistics by the most probable class",
        "",
        (
            Patch(
                "ludwig.models.predictor:calculate_overall_stats",
                f"{_HOST}.model.soft_labels:compare_with_most_probable",
                "The overall statistics of category_distribution features fail.",
                "Ludwig took the most probable class of a target for its class there, as it does for the accuracy.",
            ),
        ),
    ),
    Group(
        "pairs",
        "rows 2i and 2i + 1 to stay together",
        "losses that compare consecutive rows",
        (
            Patch(
                "ludwig.data.cache.manager:calculate_checksum",
                f"{_HOST}.data.pairs:add_pairs_to_checksum",
                "Data that was split by rows is found in the cache.",
                "the loss were part of the key of the cache.",
            ),
            Patch(
                "ludwig.data.preprocessing:build_dataset",
                f"{_HOST}.data.pairs:drop_whole_pairs",
                "A row that is dropped for a missing value moves all pairs after it.",
                "Ludwig could drop groups of rows.",
            ),
            Patch(
                "ludwig.data.preprocessing:split_dataset",
                f"{_HOST}.data.pairs:split_pairs",
                "A random split tears pairs apart.",
                "Ludwig could split groups of rows.",
            ),
            Patch(
                "ludwig.data.preprocessing:load_hdf5",
                f"{_HOST}.data.pairs:load_in_order",
                "Rows of cached training data are shuffled once and for all.",
                "Ludwig 0.11 were no longer supported.",
                uses=("shuffle_training",),
                versions="0.11",
            ),
            Patch(
                "ludwig.data.preprocessing:preprocess_for_training",
                f"{_HOST}.data.pairs:preprocess_pairs",
                "The functions above do not know the loss.",
                "Ludwig could split and shuffle groups of rows.",
                uses=("backend",),
            ),
            Patch(
                "ludwig.data.preprocessing:preprocess_for_prediction",
                f"{_HOST}.data.pairs:preprocess_pairs_for_evaluation",
                "The functions above do not know the loss.",
                "Ludwig could split and shuffle groups of rows.",
            ),
            Patch(
                "ludwig.data.dataset.pandas:DistributedSampler",
                f"{_HOST}.data.pairs:pair_sampler",
                "Batches are made of single rows in random order.",
                "a data set took a sampler.",
                uses=("shuffle", "random_seed", "distributed"),
                only_here=True,
            ),
            Patch(
                "ludwig.data.dataset.pandas:PandasDataset.initialize_batcher",
                f"{_HOST}.data.pairs:batch_pairs",
                "The sampler does not know the loss, and an odd batch size cuts a pair.",
                "a data set took a sampler.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.data.pairs:refuse_torn_pairs",
                "Data that was preprocessed for another loss is trained on, without its pairs.",
                "the loss were part of the key of the cache.",
            ),
            Patch(
                "ludwig.api:generate_kfold_splits",
                f"{_HOST}.data.pairs:fold_pairs",
                "Folds tear pairs apart.",
                "Ludwig could fold groups of rows.",
            ),
            Patch(
                "ludwig.api:kfold_cross_validate",
                f"{_HOST}.data.pairs:cross_validate_pairs",
                "The function above does not know the loss.",
                "Ludwig could fold groups of rows.",
            ),
        ),
    ),
    Group(
        "batch sizes",
        "batches with enough rows",
        "losses that compare the rows of a batch",
        (
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.data.batch_sizes:refuse_small_batches",
                "The loss is the same number in every epoch where a batch has too few rows.",
                "a loss could say how many rows it needs.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.tune_batch_size",
                f"{_HOST}.data.batch_sizes:tune_with_enough_rows",
                "Ludwig's search for the fastest batch size may choose one with too few rows.",
                "a loss could say how many rows it needs.",
                uses=("tune_for_training",),
            ),
        ),
    ),
    Group(
        "masks",
        "the classes of its masks to be found in all of them, and kept",
        "losses on image features",
        (
            Patch(
                "ludwig.features.image_feature:ImageFeatureMixin.add_feature_data",
                f"{_HOST}.data.masks:add_feature_data",
                "Classes are those of the first mask; a colour that is none of them is class 0 in silence.",
                "Ludwig looked at all masks, and refused unknown colours.",
            ),
            Patch(
                "ludwig.features.image_feature:ImageFeatureMixin._finalize_preprocessing_parameters",
                f"{_HOST}.data.masks:find_classes",
                "Classes are those of the first mask, again for each data set that is evaluated.",
                "Ludwig looked at all masks, and kept their classes.",
            ),
            Patch(
                "ludwig.features.image_feature:ImageFeatureMixin._read_image_if_bytes_obj_and_resize",
                f"{_HOST}.data.masks:read_image",
                "A colour that is no class is class 0 in silence.",
                "Ludwig refused unknown colours.",
                uses=("resize_method", "img_height", "img_width", "num_channels", "channel_class_map"),
            ),
            Patch(
                "ludwig.features.image_feature:_cache_image_column_to_disk",
                f"{_HOST}.data.masks:cache_images",
                "Images in memory are read from the files that another data set has left.",
                "Ludwig named these files after their content.",
                only_with="ludwig.data.lazy_utils:resolve_lazy_cache_dir",
                versions="0.17",
            ),
            Patch(
                "ludwig.data.cache.manager:calculate_checksum",
                f"{_HOST}.data.masks:add_masks_to_checksum",
                "Masks that were read for a loss of Ludwig's own are found in the cache.",
                "the loss were part of the key of the cache.",
            ),
            Patch(
                "ludwig.data.preprocessing:build_dataset",
                f"{_HOST}.data.masks:build_with_masks",
                "The functions above do not know the loss.",
                "Ludwig looked at all masks, and refused unknown colours.",
            ),
            Patch(
                "ludwig.data.preprocessing:preprocess_for_prediction",
                f"{_HOST}.data.masks:preprocess_masks_for_evaluation",
                "Masks that were prepared for another model are found in the cache.",
                "Ludwig kept the classes of the trained model.",
                uses=("training_set_metadata",),
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer.train",
                f"{_HOST}.data.masks:refuse_foreign_masks",
                "Data that was preprocessed for a loss of Ludwig's own is trained on.",
                "the loss were part of the key of the cache.",
            ),
            Patch(
                "ludwig.data.dataset.pandas:RandomAccessBatcher._fetch_sync",
                f"{_HOST}.data.masks:fetch_batch",
                "An error in the thread that reads masks ends the epoch in silence.",
                "Ludwig raised what went wrong there.",
                only_with="ludwig.data.dataset.pandas:RandomAccessBatcher prefetch_size",
                versions="0.17",
            ),
            Patch(
                "ludwig.data.dataset.pandas:RandomAccessBatcher._async_advance",
                f"{_HOST}.data.masks:advance",
                "An error in the thread that reads masks ends the epoch in silence.",
                "Ludwig raised what went wrong there.",
                only_with="ludwig.data.dataset.pandas:RandomAccessBatcher prefetch_size",
                versions="0.17",
            ),
        ),
    ),
    Group(
        "images",
        "an evaluation without overall statistics",
        "",
        (
            Patch(
                "ludwig.models.predictor:calculate_overall_stats",
                f"{_HOST}.model.evaluation:leave_out_absent_targets",
                "The evaluation of image features fails for want of the masks.",
                "Ludwig left out features that have no overall statistics.",
                versions="0.14 to 0.17",
            ),
        ),
    ),
    Group(
        "ranks",
        "all ranks to have the same data and to decide alike",
        "training on several ranks",
        (
            Patch(
                "ludwig.data.preprocessing:load_hdf5",
                f"{_HOST}.ranks.agreement:load_in_equal_order",
                "Each rank shuffles cached data in its own way.",
                "Ludwig 0.11 were no longer supported.",
                uses=("shuffle_training",),
                versions="0.11",
            ),
            Patch(
                "ludwig.data.preprocessing:preprocess_for_training",
                f"{_HOST}.ranks.agreement:preprocess_first_rank_first",
                "Ranks write the same cache at the same time, and may train on different rows.",
                "Ludwig's local backend knew several ranks.",
                uses=("backend",),
            ),
            Patch(
                "ludwig.trainers.trainer:append_metrics",
                f"{_HOST}.ranks.agreement:record_metrics_of_first_rank",
                "Ranks save and stop at different steps.",
                "Ludwig's local backend knew several ranks.",
            ),
            Patch(
                "ludwig.trainers.trainer:Trainer._has_nan_or_inf_weights",
                f"{_HOST}.ranks.agreement:stop_all_ranks",
                "One rank stops and the others wait forever.",
                "Ludwig told all ranks.",
            ),
            Patch(
                "ludwig.data.dataset.pandas:PandasDataset.initialize_batcher",
                f"{_HOST}.data.samplers:batch_shard",
                "Rows are repeated in evaluations to make shards equally long.",
                "Ludwig sharded evaluations without repeating rows.",
                uses=("distributed", "ignore_last"),
            ),
        ),
    ),
    Group(
        "Ray workers",
        "several workers of Ray to train one model",
        "several workers of Ray",
        (
            Patch(
                "ludwig.data.preprocessing:preprocess_for_training",
                f"{_HOST}.ranks.ray:preprocess_if_there_is_room",
                "Ray waits forever for workers that do not fit on the cluster.",
                "Ludwig checked it.",
                uses=("backend",),
                when="ludwig.backend.ray",
            ),
            Patch(
                "ludwig.backend.ray:run_train_remote",
                f"{_HOST}.ranks.ray:run_train_remote",
                "Ray waits forever for workers that do not fit on the cluster.",
                "Ludwig checked it.",
            ),
            Patch(
                "ludwig.backend.ray:TorchTrainer",
                f"{_HOST}.ranks.ray:create_trainer",
                "Shards differ in length, and the workers wait for each other.",
                "Ludwig shared the data out evenly.",
                only_here=True,
            ),
            Patch(
                "ludwig.backend.ray:train_fn",
                f"{_HOST}.ranks.ray:train_on_worker",
                "Each worker trains a model of its own.",
                "Ludwig's workers used its strategy for several ranks.",
                uses=("executable_kwargs",),
            ),
            Patch(
                "ludwig.backend.ray:eval_fn",
                f"{_HOST}.ranks.ray:evaluate_on_worker",
                "Metrics are those of one worker.",
                "Ludwig's workers used its strategy for several ranks.",
            ),
        ),
    ),
    Group(
        "vectors under Ray",
        "vectors to be measured under Ray",
        "",
        (
            Patch(
                "ludwig.features.vector_feature:len",
                f"{_HOST}.model.soft_labels:length",
                "Dask finds out what a mapping returns by mapping a bare object, which has no length.",
                "Ludwig 0.11 were no longer supported.",
                only_here=True,
                versions="0.11",
            ),
        ),
    ),
    Group(
        "metrics in place",
        "metrics not to be moved for each batch",
        "",
        (
            Patch(
                "ludwig.modules.metric_modules:LudwigMetric.to",
                f"{_HOST}.model.metrics:move_metric",
                "A tenth of a small step goes into moving metrics to where they are.",
                "Ludwig moved metrics once.",
            ),
        ),
    ),
    Group(
        "searches",
        "a warning where a search compares losses on different scales",
        "",
        (
            Patch(
                "ludwig.hyperopt.run:hyperopt",
                f"{_HOST}.config.search:search_with_warning",
                "The loss with the smallest scale wins in silence.",
                "Ludwig warned of it.",
            ),
        ),
    ),
)


def patches_of(hook: str) -> Iterator[tuple[Group, Patch]]:
    """Yield the patches that the import of a module puts in place, with their groups, in the order of the table."""
    return ((group, patch) for group in GROUPS for patch in group.patches if patch.hook == hook)


def hooked(module: str) -> bool:
    """Whether the import of a module puts a patch in place."""
    return any(True for _ in patches_of(module))


def order(patch: Patch) -> int:
    """The place of a patch in the table."""
    return [each for group in GROUPS for each in group.patches].index(patch)
