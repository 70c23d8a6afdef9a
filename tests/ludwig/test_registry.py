"""From one declaration follows everything that Ludwig looks up, under every name and for every feature type."""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Iterator

import pytest
import torch
from ludwig.config_validation.validation import get_schema
from ludwig.constants import MODEL_ECD
from ludwig.modules.loss_modules import create_loss
from ludwig.modules.metric_registry import get_metric_cls
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.features.utils import get_output_feature_jsonschema

import declared
from ludwig_losses.declare.config import ClassificationLossConfig, LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import json_schema
from ludwig_losses.host.model.metrics import DeclaredLossMetric
from ludwig_losses.host.registry import catalogue, find, losses_for
from ludwig_losses.metrics.reported.terms import TermsMetric

NAMES = [*declared.PAIRS, *declared.MORE_PAIRS, *declared.ALIAS_PAIRS]


@pytest.mark.parametrize(("feature", "name"), NAMES, ids=["-".join(pair) for pair in NAMES])
def test_schema_implementation_and_metric_are_registered(feature, name):
    config = get_loss_cls(feature, name).from_dict({"type": name})
    assert config.type == name and config.weight == 1
    assert get_metric_cls(feature, name) is DeclaredLossMetric
    module = create_loss(config)
    assert isinstance(module, Loss) and module.get_loss_inputs() == "logits"
    assert type(module).declaration is find(name)
    # Workers of a cluster receive all of them by pickle.
    for thing in (config, module, DeclaredLossMetric(config=config)):
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


@pytest.mark.parametrize(("feature", "name"), declared.SUMS, ids=[pair[0] for pair in declared.SUMS])
def test_a_loss_with_terms_is_registered_for_every_feature(feature, name):
    own = next(loss for loss in losses_for(feature) if loss != name)
    config = get_loss_cls(feature, name).from_dict({"type": name, "terms": [{"type": own}]})
    assert get_metric_cls(feature, name) is DeclaredLossMetric
    assert get_metric_cls(feature, f"loss_{own}") is TermsMetric
    for thing in (config, create_loss(config), DeclaredLossMetric(config=config), TermsMetric(create_loss(config))):
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


def test_what_reads_class_weights_has_them():
    for declaration in catalogue().values():
        if {"category", "text", "sequence"} & set(declaration.features) and not declaration.has_terms:
            assert issubclass(declaration.config_cls, ClassificationLossConfig)


def undescribed(node: dict, path: str) -> Iterator[str]:
    """The properties below a node of a JSON schema that say nothing of themselves, and the ways to write one."""
    for name, schema in node.get("properties", {}).items():
        where = f"{path}.{name}"
        # A section, as `decoder`, is described by its properties; of the types of losses Ludwig says nothing.
        if not (schema.get("description") or "properties" in schema or where.endswith(("decoder.type", "loss.type"))):
            yield where
        yield from undescribed(schema, where)
    for case in node.get("allOf", []):
        yield from undescribed(case["then"], f"{path}[{case['if']['properties']['type']['const']}]")
    for number, option in enumerate(node.get("oneOf", [])):
        if not option.get("description") and option.get("type") != "null":
            yield f"{path}, way {number}"
        yield from undescribed(option, path)


def test_all_that_is_added_to_the_json_schema_is_described():
    for name, declaration in catalogue().items():
        assert not [*undescribed(json_schema(declaration.config_cls), name)]
    schema = get_output_feature_jsonschema(MODEL_ECD)
    (added,) = (case["then"] for case in schema["allOf"] if case["if"]["properties"]["type"]["const"] == "anomaly")
    assert not [*undescribed(added, "anomaly")]
    described = added["properties"]["decoder"]["properties"]["type"]["enumDescriptions"]
    assert {*described} == {"anomaly"} and "centre" in described["anomaly"]["long_description"]


def test_the_json_schema_knows_defaults_and_ranges():
    def properties_of(node, name):
        if isinstance(node, dict):
            if node.get("if", {}).get("properties", {}).get("type", {}).get("const") == name:
                return node["then"]["properties"]
            node = list(node.values())
        if isinstance(node, list):
            return next((found for child in node if (found := properties_of(child, name))), None)
        return None

    outputs = get_schema()["properties"]["output_features"]
    for name in ("focal_loss", "focal"):
        properties = properties_of(outputs, name)
        assert properties["gamma"]["default"] == 2.0 and properties["gamma"]["minimum"] == 0
        assert properties["weight"]["type"] == "number" and properties["weight"]["minimum"] == 0
    assert properties_of(outputs, "nt_xent")["pairing"]["enum"] == ["consecutive", "target"]
    assert "array" in properties_of(outputs, "compound_loss")["terms"]["type"]
    assert properties_of(outputs, "poly_loss")["gamma"]["minimum"] == 0


def test_the_mean_over_weighted_classes_is_that_of_cross_entropy():
    weights = [0.2, 1.0, 3.0]
    logits, target = torch.randn(50, 3), torch.randint(3, (50,), dtype=torch.int8)
    expected = torch.nn.functional.cross_entropy(logits, target.long(), weight=torch.tensor(weights))
    for name, neutral in (("focal_loss", {"alpha": None, "gamma": 0}), ("poly_loss", {"epsilon": 0})):
        config = get_loss_cls("category", name).from_dict({"type": name, "class_weights": weights, **neutral})
        torch.testing.assert_close(create_loss(config)(logits, target), expected)


# Methods that losses call, or that only sums of losses replace.
OF_THE_HOUSE = {
    *(
        "Schema",
        "class_similarities",
        "class_similarities_temperature",
        "class_weights",
        "declaration",
        "type",
        "weight",
    ),
    *("create_metrics", "divide_by", "for_metrics", "indices", "is_default", "names_of_classes"),
    *("register_numbers", "reporter", "to_dict", "value_of", "weighted_mean", "weights_by_frequency"),
}


def test_the_guide_says_what_a_loss_may_declare():
    guide = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "own_loss.md").read_text()
    seams = {name for cls in (Loss, LossConfig) for name in vars(cls) if not name.startswith(("_", "model_"))}
    assert {name for name in seams - OF_THE_HOUSE if f"`{name}`" not in guide} == set()
