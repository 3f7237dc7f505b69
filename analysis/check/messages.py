"""What a learner is told: each mistake's title, what would be right, its usual cause, and the line to look at.

A table of sentences, and so one long file.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of mistake, in words."""

    title: str
    right: str
    cause: str
    patterns: tuple[str, ...]
    """Regular expressions of the line to look at, the likeliest first; if none fits any, it is the scope's own."""
    scope: str = "dropout_layer"
    """The function or class that holds the line; empty for the whole file."""


of_net = functools.partial(Kind, scope="Net")

WIDTH = 100
RANDOM = r"\b(rand\w*|bernoulli\w*|binomial|choice|uniform\w*|random|normal\w*)\b"
COMPARISON = (RANDOM + ".*[<>]", r"^(?!\s*(assert|if|elif)\b).*[<>]", "[<>]", RANDOM)
RETURN = r"^\s*return\b"
PRODUCT = r"^\s*return\b(?!\s*(\w+|torch\.zeros\w*\(.*\))\s*$)"
"""A return of neither a name alone nor zeros."""
CALL = r"dropout_layer\(|[dD]ropout\w*\(|self\.drop"

MISTAKES: dict[str, Kind] = {
    # dropout_layer: its result
    "stops": Kind(
        "dropout_layer stops",
        "it returns a tensor of X's shape for every X and every dropout from 0 to 1",
        "the mask must have X's shape, whatever that is: torch.rand(X.shape)",
        (RANDOM,),
    ),
    "no_result": Kind(
        "dropout_layer returns no tensor",
        "it returns one tensor of X's shape",
        "the line with return is missing, or it returns more than the output",
        (r"^\s+(?!(return|if|assert|print)\b)[^=#:]*\*[^=#:]*$", r"^\s*return\b.*,[^()]*$", RETURN),
    ),
    "shape": Kind(
        "The output has another shape than X",
        "both have the same shape",
        "the mask has a shape of its own, or the result is summed or flattened",
        (RETURN,),
    ),
    "not_finite": Kind(
        "The output holds NaN or infinity",
        "every number is 0 or X / (1 - dropout)",
        "a division by 0, often a division by the mask",
        ("/",),
    ),
    "edge_zero": Kind(
        "dropout = 0 changes X",
        "with dropout = 0 nothing is dropped: the output is X",
        "the case dropout == 0 is missing or mixed up with dropout == 1",
        (r"==\s*0", RETURN),
    ),
    "edge_one": Kind(
        "dropout = 1 does not give zeros",
        "with dropout = 1 everything is dropped: the output is all zeros",
        "the case dropout == 1 is missing, and 1 - dropout is 0 there, which nothing can be divided by",
        (r"==\s*1", RETURN),
    ),
    # dropout_layer: the mask
    "randn": Kind(
        "The mask is drawn from a normal distribution",
        "20 %, 50 % and 80 %",
        "torch.randn (normal numbers) stands where torch.rand belongs (numbers evenly between 0 and 1)",
        ("randn|normal|gauss",),
    ),
    "swapped": Kind(
        "Dropping and keeping are swapped",
        "20 %, 50 % and 80 %: dropout is the probability of dropping",
        "< stands where > belongs, or dropout is taken for the probability of keeping",
        COMPARISON,
    ),
    "fixed_rate": Kind(
        "The rate is always the same",
        "20 %, 50 % and 80 %: the rate is the argument",
        "a number stands in the comparison where the argument dropout belongs",
        COMPARISON,
    ),
    "wrong_rate": Kind(
        "Too many or too few numbers are dropped",
        "20 %, 50 % and 80 %",
        "the random numbers are not spread evenly between 0 and 1, or are compared with something else",
        COMPARISON,
    ),
    "nothing_dropped": Kind(
        "Nothing is dropped",
        "20 %, 50 % and 80 % of the numbers become 0",
        "the mask is not multiplied by X, or the function returns X itself",
        (PRODUCT, RETURN),
    ),
    "no_threshold": Kind(
        "The mask holds random numbers instead of zeros and ones",
        "every number is either 0 or X / (1 - dropout)",
        "the comparison with dropout is missing: mask = (torch.rand(X.shape) > dropout).float()",
        (RANDOM,),
    ),
    "by_value": Kind(
        "Units are dropped by their value, not by chance",
        "chance alone decides which units are dropped",
        "X is compared with dropout, where a random number of X's shape belongs",
        COMPARISON,
    ),
    "mask_reused": Kind(
        "The mask is reused",
        "every call draws a new mask",
        "the mask is made outside of the function or kept, or the function sets the seed",
        (r"manual_seed|\.seed\(|default_rng\(\d", r"mask\w*\s*=.*" + RANDOM, RANDOM),
        scope="",
    ),
    "mask_shared": Kind(
        "One mask for the whole batch",
        "every image of the batch has a mask of its own",
        "the mask has one row: its shape is X.shape[1] or X[0].shape, where X.shape belongs",
        (RANDOM,),
    ),
    "mask_per_image": Kind(
        "An image loses all of its units or none",
        "chance decides for every unit of every image",
        "the mask has one number for an image: its shape is len(X), where X.shape belongs",
        (RANDOM,),
    ),
    "one_number": Kind(
        "One random number decides for all units",
        "chance decides for every unit of every image",
        "one number is drawn, as by torch.rand(1) or random.random(), where torch.rand(X.shape) belongs",
        (RANDOM,),
    ),
    "mask_repeats": Kind(
        "Parts of the mask repeat or depend on each other",
        "chance decides for every unit of every image anew",
        "a smaller mask is repeated, or a part of an earlier one is used again",
        ("repeat|expand|tile|roll|cat", RANDOM),
    ),
    # dropout_layer: the scale
    "no_rescaling": Kind(
        "What is kept is not rescaled",
        "multiplied by 1 / (1 - dropout): 1.25, 2 and 5, so that the mean stays that of X",
        "the division by 1 - dropout is missing: mask * X / (1.0 - dropout)",
        (PRODUCT, RETURN),
    ),
    "divided_by_dropout": Kind(
        "What is kept is divided by dropout",
        "multiplied by 1 / (1 - dropout): 1.25, 2 and 5",
        "/ dropout stands where / (1 - dropout) belongs",
        (r"/\s*dropout", "/"),
    ),
    "multiplied": Kind(
        "What is kept is multiplied by 1 - dropout instead of divided by it",
        "multiplied by 1 / (1 - dropout): 1.25, 2 and 5",
        "* (1 - dropout) stands where / (1 - dropout) belongs",
        (r"\*\s*\(1", r"1(\.0?)?\s*-"),
    ),
    "multiplied_by_dropout": Kind(
        "What is kept is multiplied by dropout",
        "multiplied by 1 / (1 - dropout): 1.25, 2 and 5",
        "* dropout stands where / (1 - dropout) belongs",
        (r"\*\s*dropout|dropout\s*\*",),
    ),
    "rescaled_twice": Kind(
        "What is kept is rescaled twice",
        "multiplied by 1 / (1 - dropout): 1.25, 2 and 5",
        "two divisions by 1 - dropout, or F.dropout, which divides already, and one more",
        ("/",),
    ),
    "wrong_scale": Kind(
        "What is kept has a wrong scale",
        "multiplied by 1 / (1 - dropout): 1.25, 2 and 5",
        "a slip in the division: mask * X / (1.0 - dropout)",
        ("/", PRODUCT, RETURN),
    ),
    "kept_values_vary": Kind(
        "What is kept is changed by chance",
        "every number that is kept is multiplied by the same 1 / (1 - dropout)",
        "noise is added, or the mask holds other numbers than 0 and 1",
        (RANDOM,),
    ),
    # dropout_layer: the gradient
    "no_gradient": Kind(
        "No gradient flows through dropout_layer",
        "the gradient at X is the mask / (1 - dropout), so that the layers before it learn",
        "detach(), numpy(), .data, no_grad() or torch.tensor(...) cuts X off",
        (r"detach|numpy|\.data\b|no_grad|tensor\(",),
    ),
    "wrong_gradient": Kind(
        "The gradient through dropout_layer is wrong",
        "the gradient at X is the mask / (1 - dropout)",
        "a part of the formula is outside of autograd, through .data or detach()",
        (r"\.data\b|detach|no_grad",),
    ),
    "dtype": Kind(
        "The output has another type of number than X",
        "float32 in, float32 out: the next layer refuses anything else",
        "a mask from NumPy is float64: make it .to(X.dtype)",
        (r"numpy|np\.|double|float64", RETURN),
    ),
    "in_place": Kind(
        "dropout_layer changes X itself",
        "X stays as it is: autograd needs it for the gradient",
        "X *= mask or X[...] = 0; work on a copy (X.clone()) or write mask * X",
        (r"[*/]=|\w_\(|\]\s*=",),
    ),
    # Net
    "net_stops": of_net(
        "The net stops",
        "it takes images and gives 10 numbers for each of them, and backward() works",
        "see what Python says",
        ("def forward",),
    ),
    "net_outputs": of_net(
        "The net does not give one number for each class",
        "10 numbers for each image",
        "the arguments are in another order than Net(num_inputs, num_outputs, num_hiddens1, num_hiddens2)",
        ("def __init__",),
    ),
    "active_in_evaluation": of_net(
        "Dropout is active when evaluating",
        "after net.eval() nothing is dropped: the same image gives the same answer",
        "`if self.training:` is missing in front of dropout_layer, or another attribute is asked, "
        "which net.eval() does not change",
        (CALL,),
    ),
    "changed_in_evaluation": of_net(
        "Something other than dropout changes when evaluating",
        "after net.eval() the net is the one without dropout",
        "numbers are multiplied by 1 - dropout when evaluating, though dropout_layer has rescaled in training",
        (r"1(\.0?)?\s*-", r"not self\.training|else"),
    ),
    "never_drops": of_net(
        "The net never drops",
        "in training every pass drops other units",
        "dropout_layer is not called, its result is not used, the rates are 0, or the condition is turned round",
        (CALL, r"self\.training", "def forward"),
    ),
    "net_mask_reused": of_net(
        "The net uses one mask in every pass",
        "every pass draws a new mask",
        "the mask is made in __init__, where forward belongs",
        (RANDOM,),
    ),
    "net_mask_shared": of_net(
        "The net uses one mask for the whole batch",
        "every image of the batch has a mask of its own",
        "the mask in forward has one row, where the shape of the layer's output belongs",
        (RANDOM,),
    ),
    "noise_on_logits": of_net(
        "Dropout is on the output of the net",
        "dropout comes after the two hidden layers; the 10 numbers that the loss takes stay as they are",
        "dropout_layer is called after the last layer, or a line is too far down",
        (CALL,),
    ),
    "noise_on_input": of_net(
        "Dropout is on the input images",
        "dropout comes after the two hidden layers; the images stay as they are",
        "dropout_layer is called before the first layer, or with X where H1 belongs",
        (r"\(\s*X", CALL),
    ),
    "twice": of_net(
        "Dropout is on one hidden layer twice",
        "once after each hidden layer",
        "a slip in a name, such as dropout_layer(H1, dropout2) where H2 belongs",
        (CALL,),
    ),
}


def text(file: str, source: str, report: Mapping[str, Any]) -> str:
    """The report of `analysis.check.learner.Report`, as a dict, in plain text."""
    mistakes = [(MISTAKES[mistake["name"]], mistake) for mistake in report["mistakes"]]
    lines = [file, ""]
    lines += [_wrapped("  right    ", line) for line in report["right"]]
    lines += [_wrapped("  mistake  ", f"{kind.title}.") for kind, _ in mistakes]
    lines += [_wrapped("  note     ", line) for line in report["notes"]]
    for number, (kind, mistake) in enumerate(mistakes, 1):
        rows = {"seen": mistake["seen"], "right": kind.right, "cause": kind.cause}
        lines += ["", f"{number}. {kind.title}"]
        lines += [_wrapped(f"   {name + ':':<8}", words) for name, words in rows.items()]
        if line := mistake["line"] or line_of(kind, source):
            lines.append(f"   look:   line {line}: {source.splitlines()[line - 1].strip()}")
    verdict = f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)}." if mistakes else "No mistake was seen."
    return "\n".join([*lines, "", verdict])


def _wrapped(start: str, words: str) -> str:
    return textwrap.fill(words, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def line_of(kind: Kind, source: str) -> int | None:
    """The line of a file that a mistake of this kind usually stands in."""
    lines = source.splitlines()
    numbers: Sequence[int] = range(1, len(lines) + 1)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == kind.scope:
            numbers = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    code = [
        number for number in numbers if not lines[number - 1].lstrip().startswith(("#", "import", "from"))
    ]
    likely = (n for pattern in kind.patterns for n in code if re.search(pattern, lines[n - 1]))
    return next(likely, code[0] if kind.scope and len(numbers) < len(lines) else None)
