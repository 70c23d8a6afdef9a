"""How class names become indices, and numbers by class name become a list, once the classes are known."""

from collections.abc import Sequence
from typing import Any

from ludwig_losses.declare.schema import parameters_of
from ludwig_losses.parameters import Feature, PerClass, numeric_order, shown


def per_class_values(name: str, value: Any, feature: Feature) -> Any:
    """Return one number per class in the order of the classes, of a parameter as the user wrote it."""
    where = f"{feature.place(name)}: {shown(value)}"
    count = feature.num_classes
    if isinstance(value, dict):
        if feature.classes is None:
            raise ValueError(
                f"{where} names classes, but the classes of this feature have no names. "
                f"Write a list with one number for each of the {count} classes."
            )
        value = {feature.synonyms.get(key, key): number for key, number in value.items()}
        unknown = [key for key in value if key not in feature.classes]
        missing = [key for key in feature.classes if key not in value and key not in feature.symbols]
        if unknown or missing:
            raise _misfit(where, unknown, missing, feature)
        return [value.get(key, 1.0) for key in feature.classes]
    if isinstance(value, (list, tuple)) and len(value) != count:
        order = "" if feature.classes is None else f", in this order: {feature.classes}"
        raise ValueError(f"{where} has {len(value)} numbers, but there are {count} classes{order}.")
    return value


def check_some_weight(config: Any, counted: list[int], feature: Feature) -> None:
    """Check, once classes are indices, that some class is not ignored and has a weight in each list of weights.

    Raises:
        ValueError: there is nothing to learn.
    """
    symbols = [index for index in counted if feature.classes and feature.classes[index] in feature.symbols]
    left, weights = set(counted).difference(symbols), ""
    for name, parameter in parameters_of(type(config)).items():
        values = getattr(config, name)
        if isinstance(parameter, PerClass) and parameter.weights and isinstance(values, (list, tuple)):
            left = {index for index in left if values[index]}
            weights += f" and {name}: {shown(values)}"
    if not left:
        ignored = f"ignore_index: {shown(config.ignore_index)}"
        raise ValueError(
            f"{feature.place()}: {ignored}{weights} leave none of the {feature.num_classes} classes"
            f"{'' if feature.classes is None else f' {shown(feature.classes)}'}, so there is nothing to learn."
        )


def frequency_weights(beta: float, feature: Feature) -> list[float]:
    """Return weights proportional to ``(1 - beta) / (1 - beta**n)``, ``1 / n`` for ``beta`` 1, that average 1 over
    all examples. Classes without an example, and symbols that Ludwig adds, get the weight 1."""

    def effective_number(n: int) -> float:
        return n if beta == 1 else (1 - beta**n) / (1 - beta)

    pairs = zip(feature.classes or (), feature.frequencies or (), strict=True)
    counts = [0 if name in feature.symbols else n for name, n in pairs]
    weights = [1 / effective_number(n) if n else 0.0 for n in counts]
    total = sum(n * weight for n, weight in zip(counts, weights, strict=True))
    return [sum(counts) * weight / total if weight else 1.0 for weight in weights]


def class_indices(name: str, value: Any, feature: Feature) -> list[int] | None:
    if value is None:
        return None
    where = f"{feature.place(name)}: {shown(value)}"
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(values[0], (str, bool)):
        if feature.classes is None:
            raise ValueError(f"{where} names a class, but the classes of this feature have no names. Write its index.")
        names = [feature.synonyms.get(str(entry), str(entry)) for entry in values]
        unknown = [entry for entry in names if entry not in feature.classes]
        if unknown:
            raise _misfit(where, unknown, [], feature)
        return [feature.classes.index(entry) for entry in names]
    outside = [index for index in values if feature.num_classes is not None and index >= feature.num_classes]
    if outside:
        quote = f" Quote the name: '{outside[0]}'." if str(outside[0]) in (feature.classes or ()) else ""
        order = "" if feature.classes is None else f", in this order: {feature.classes}"
        raise ValueError(
            f"{feature.place(name)}: there is no class with index {shown(outside[0])}; the {feature.num_classes} "
            f"classes are numbered from 0{order}.{quote}"
        )
    # A list is not questioned: a saved model contains its indices.
    classes = feature.classes or []
    if value is values[0] and str(value) in classes and classes[value] != str(value):
        raise ValueError(
            f"{where} is the index of class '{classes[value]}', but there is a class named '{value}', too. "
            f"Write '{value}' in quotes for the latter, [{value}] for the former."
        )
    return values


def class_order(name: str, value: Any, feature: Feature, ignored: Sequence[int] = ()) -> list[dict[str, int]]:
    """Return the classes from low to high, each as a mapping from its name to its index.

    Without a value, names that are numbers are sorted as numbers. Symbols that Ludwig adds, such as ``<UNK>``, have a
    place in the order only if they are named, and so have ignored classes.
    """
    where, classes = feature.place(name), feature.classes or []
    optional = {*feature.symbols, *(classes[index] for index in ignored)}
    if value is None:
        value = _numeric_order(f"{where}: {name}", [entry for entry in classes if entry not in optional])
    names = [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in value]
    unknown = [entry for entry in names if entry not in classes]
    missing = [entry for entry in classes if entry not in names and entry not in optional]
    if unknown or missing:
        raise _misfit(f"{where}: {names}", unknown, missing, feature)
    resolved = [{entry: classes.index(entry)} for entry in names]
    if any(isinstance(entry, dict) for entry in value) and resolved != list(value):
        raise ValueError(
            f"{where}: {value} gives indices that are not those of the classes. Write names only: {names}."
        )
    return resolved


def _numeric_order(where: str, names: list[str]) -> list[str]:
    """Sort names that are different numbers."""
    order = numeric_order(names)
    if order is None:
        raise ValueError(
            f"{where} is missing: which of the classes is higher than another one does not follow from their names. "
            f"Write {where.rpartition(' ')[2]}: with these names from low to high: {sorted(names)}."
        )
    return order


def _misfit(where: str, unknown: list[str], missing: list[str], feature: Feature) -> ValueError:
    problems = [f"{text} {names}" for text, names in (("unknown", unknown), ("missing", missing)) if names]
    quote = {"True", "False"} & {*unknown}
    hint = " YAML reads yes, no, on and off as booleans: quote such names." if quote else ""
    return ValueError(
        f"{where} does not fit the classes: {', '.join(problems)}. The classes are {feature.classes}.{hint}"
    )
