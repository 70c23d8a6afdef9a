"""Table, summary and plots from the results of ``losses.py``; ``python benchmarks/report.py`` makes them anew."""

from __future__ import annotations

import json
import pathlib
import re

OURS = "ludwig-losses"
PLAIN = "plain"
# Megabytes of logits from which on the memory that is taken says something: the system gives it out in pages.
LARGE = 0.5


def _is_large(row: dict) -> bool:
    return row["logits_mb"] >= LARGE


def lines(title: str, row: dict) -> str:
    """One line of the complete table per implementation."""
    cells = []
    for name, result in row["implementations"].items():
        shown = f"*{row['limit']}*" if name == "limit" else name
        value = {True: "yes", False: "**no**"}.get(result.get("same_value"), "")
        peak = result["peak_extra_mb"]
        memory = f"{peak} MB ({peak / row['logits_mb']:.1f} x)" if _is_large(row) else "-"
        cells.append(f"| {title} | {shown} | {value} | {result['ms']:.3f} | {result['ratio']:.2f} | {memory} |")
    return "\n".join(cells)


def summary(results: dict) -> str:
    """The first table of docs/guides/speed.md: ours, the target, and the best library with the correct value."""
    table = [
        "| case | baseline | target | ours | best correct library | our memory | least memory of a correct library |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, row in results["works"].items():
        if not _is_large(row):
            continue
        ours, libraries = _right(row)
        fastest = min(libraries, key=lambda name: libraries[name]["ratio"])
        smallest = min(libraries, key=lambda name: libraries[name]["peak_extra_mb"])
        table.append(
            f"| {title} | {row['limit']} | {row['bar'] or '-'} | {ours['ratio']:.2f} | "
            f"{libraries[fastest]['ratio']:.2f} ({fastest}) | {ours['peak_extra_mb']:.0f} MB | "
            f"{libraries[smallest]['peak_extra_mb']:.0f} MB ({smallest}) |"
        )
    return "\n".join(table)


def summary_of_small(results: dict) -> str:
    """The second table of docs/guides/speed.md: batches so small that calls cost more than arithmetic."""
    table = [
        "| case | baseline | its µs | plain, µs | ours, µs | over baseline | over plain | "
        "best other correct library, µs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, row in results["works"].items():
        if _is_large(row):
            continue
        ours, libraries = _right(row)
        plain = libraries.pop(PLAIN)
        other = _fastest(libraries)
        times = map(_microseconds, (row["implementations"]["limit"], plain, ours))
        ratios = f"{ours['ratio']:.2f} | {ours['ms'] / plain['ms']:.2f}"
        table.append(f"| {title} | {row['limit']} | {' | '.join(times)} | {ratios} | {other} |")
    return "\n".join(table)


def summary_of_gpu(results: dict) -> str:
    """The third table of docs/guides/speed.md: on a GPU, large cases and small ones."""
    table = [
        "| case | plain, µs | ours, µs | over baseline | over plain | best correct library, µs | "
        "our memory | of plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, row in results["works"].items():
        ours, libraries = _right(row)
        plain = libraries.pop(PLAIN)
        other = _fastest(libraries)
        memory = [f"{result['peak_extra_mb']:.0f} MB" if _is_large(row) else "-" for result in (ours, plain)]
        table.append(
            f"| {title} | {_microseconds(plain)} | {_microseconds(ours)} | {ours['ratio']:.2f} | "
            f"{ours['ms'] / plain['ms']:.2f} | {other} | {' | '.join(memory)} |"
        )
    return "\n".join(table)


def _fastest(libraries: dict[str, dict]) -> str:
    best = min(libraries, key=lambda name: libraries[name]["ms"], default=None)
    return "-" if best is None else f"{_microseconds(libraries[best])} ({best})"


def _microseconds(result: dict) -> str:
    return f"{1000 * result['ms']:.0f}"


def _right(row: dict) -> tuple[dict, dict[str, dict]]:
    """Our result, and those of the libraries with the correct value."""
    implementations = row["implementations"]
    right = {name: result for name, result in implementations.items() if result.get("same_value")}
    return implementations[OURS], {name: result for name, result in right.items() if not name.startswith(OURS)}


def write(results: dict, folder: pathlib.Path) -> None:
    """Write the complete table and one plot per loss."""
    machine = "; ".join(f"{key} {value}" for key, value in results["machine"].items())
    head = "| case | implementation | correct value | ms | ratio to baseline | peak extra memory (times the logits) |"
    table = "\n".join(lines(title, row) for title, row in results["works"].items())
    text = (
        "# Forward and backward of every loss\n\n"
        f"Medians of interleaved runs in one process; float32. Machine: {machine}.\n"
        "Implementations with another value compute something else; their times do not compare.\n\n"
        f"{head}\n|---|---|---|---|---|---|\n{table}\n"
    )
    (folder / "losses.md").write_text(text)
    growths = {title: row["growth"] for title, row in results["works"].items() if row["growth"]}
    # Several shapes of a loss share one growth: its name is what stands before the first number.
    plot({re.split(r" \d", title)[0]: growth for title, growth in growths.items()}, folder / "growth.svg")


def plot(growths: dict[str, dict], path: pathlib.Path) -> None:
    """Time against size, log-log, one panel per loss and one line per implementation."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ludwig-losses", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot

    names = dict.fromkeys(name for growth in growths.values() for name in growth["points"])
    colors = {name: f"C{i}" for i, name in enumerate(names)}
    columns = 4
    figure, panels = pyplot.subplots(-(-len(growths) // columns), columns, figsize=(12, 6), squeeze=False)
    for panel in panels.flat[len(growths) :]:
        panel.set_axis_off()
    for panel, (title, growth) in zip(panels.flat, growths.items(), strict=False):
        for name, points in growth["points"].items():
            sizes, times = zip(*points, strict=True)
            panel.loglog(sizes, times, color=colors[name], linewidth=2 if name == OURS else 1, marker=".", label=name)
        panel.set_title(title)
        panel.set_xlabel(growth["axis"])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    for panel in panels[:, 0]:
        panel.set_ylabel("ms, forward + backward")
    handles = {}
    for panel in panels.flat:
        handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    results_folder = pathlib.Path(__file__).parent / "results"
    loaded, on_gpu = (json.loads((results_folder / name).read_text()) for name in ("losses.json", "losses-cuda.json"))
    write(loaded, results_folder)
    print(summary(loaded), summary_of_small(loaded), summary_of_gpu(on_gpu), sep="\n\n")
