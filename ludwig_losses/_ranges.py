"""How the range of a number is written, in messages of functions and in those about parameters."""


def range_text(minimum: float | None, above: float | None, maximum: float | None) -> str:
    """Return a range as it follows "a number"; ``above`` excludes its bound, the other two include theirs."""
    if minimum is not None and maximum is not None:
        return f" in [{minimum:g}, {maximum:g}]"
    if above is not None and maximum is not None:
        return f" in ({above:g}, {maximum:g}]"
    bounds = ((">=", minimum), (">", above), ("<=", maximum))
    return "".join(f" {sign} {bound:g}" for sign, bound in bounds if bound is not None)
