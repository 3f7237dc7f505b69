"""Files as learners write them: wrong ones with what is wrong in them, and right ones of many styles."""

from __future__ import annotations

HEAD = """
import random
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
"""

EDGES = """
    if dropout == 0:
        return X
    if dropout == 1:
        return torch.zeros_like(X)
"""

BOOK_LAYER = f"""
def dropout_layer(X, dropout):
    assert 0 <= dropout <= 1{EDGES}    mask = (torch.rand(X.shape) > dropout).float()
    return mask * X / (1.0 - dropout)
"""

BOOK_NET = """
num_inputs, num_outputs, num_hiddens1, num_hiddens2 = 784, 10, 256, 256
dropout1, dropout2 = 0.2, 0.5

class Net(nn.Module):
    def __init__(self, num_inputs, num_outputs, num_hiddens1, num_hiddens2, is_training=True):
        super(Net, self).__init__()
        self.num_inputs = num_inputs
        self.training = is_training
        self.lin1 = nn.Linear(num_inputs, num_hiddens1)
        self.lin2 = nn.Linear(num_hiddens1, num_hiddens2)
        self.lin3 = nn.Linear(num_hiddens2, num_outputs)
        self.relu = nn.ReLU()

    def forward(self, X):
        H1 = self.relu(self.lin1(X.reshape((-1, self.num_inputs))))
        if self.training == True:
            H1 = dropout_layer(H1, dropout1)
        H2 = self.relu(self.lin2(H1))
        if self.training == True:
            H2 = dropout_layer(H2, dropout2)
        out = self.lin3(H2)
        return out
"""

BOOK = BOOK_LAYER + BOOK_NET
TWICE = "        if self.training == True:\n            H2 = dropout_layer(H2, dropout2)\n"


def layer(*lines: str, edges: str = EDGES, before: str = "") -> str:
    """A `dropout_layer` of these lines after its edges."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"{before}\n\ndef dropout_layer(X, dropout):{edges}{body}"


def changed(*replacements: tuple[str, str], of: str = BOOK) -> str:
    """The book's file with a few replacements, each of which must be possible."""
    for old, new in replacements:
        assert old in of
        of = of.replace(old, new)
    return of


MASK = "mask = (torch.rand(X.shape) > dropout).float()"
SCALED = "return mask * X / (1 - dropout)"

WRONG: dict[str, tuple[str, set[str], str]] = {
    # what a learner wrote: the file, the mistakes' names, a part of the line to look at
    "randn": (changed(("torch.rand(", "torch.randn(")), {"randn"}, "torch.randn"),
    "randn and <": (layer("mask = torch.randn(X.shape) < 1 - dropout", SCALED), {"wrong_rate"}, "randn"),
    "randn, kept below": (layer("mask = torch.randn(X.shape) < dropout", SCALED), {"randn"}, "randn"),
    "randn_like": (layer("mask = torch.randn_like(X) > dropout", SCALED), {"randn"}, "randn_like"),
    "normal from numpy": (
        layer("mask = torch.tensor(np.random.normal(size=X.shape) > dropout)", SCALED), {"randn"}, "normal",
    ),
    "no rescaling": (changed((" / (1.0 - dropout)", "")), {"no_rescaling"}, "return mask * X"),
    "no rescaling, where": (
        layer("out = torch.where(torch.rand(X.shape) > dropout, X, 0.0)", "return out"), {"no_rescaling"}, "return",
    ),
    "randn and no rescaling": (
        changed(("torch.rand(", "torch.randn("), (" / (1.0 - dropout)", "")),
        {"randn", "no_rescaling"}, "torch.randn",
    ),
    "divided by dropout": (changed(("(1.0 - dropout)", "dropout")), {"divided_by_dropout"}, "/ dropout"),
    "multiplied": (changed(("X / (1.0", "X * (1.0")), {"multiplied"}, "* (1.0 - dropout)"),
    "multiplied by dropout": (layer(MASK, "return mask * X * dropout"), {"multiplied_by_dropout"}, "* dropout"),
    "rescaled twice": (layer("return F.dropout(X, dropout) / (1 - dropout)"), {"rescaled_twice"}, "/ (1"),
    "scaled by two": (layer(MASK, "return mask * X / 0.5"), {"wrong_scale"}, "/ 0.5"),
    "swapped": (changed(("> dropout", "< dropout")), {"swapped"}, "< dropout"),
    "bernoulli keeps": (
        layer("mask = torch.bernoulli(torch.full(X.shape, dropout))", SCALED), {"swapped"}, "bernoulli",
    ),
    "dropout as the probability of keeping": (
        layer("return X * (torch.rand(X.shape) < dropout) / dropout"), {"swapped"}, "< dropout",
    ),
    "always a half": (layer("mask = torch.rand(X.shape) > 0.5", SCALED), {"fixed_rate"}, "> 0.5"),
    "rate squared": (layer("mask = torch.rand(X.shape) > dropout ** 2", SCALED), {"wrong_rate"}, "dropout ** 2"),
    "twice the rate": (layer("mask = torch.rand(X.shape) > 2 * dropout", SCALED), {"wrong_rate"}, "2 * dropout"),
    "zeros from a half on": (
        layer("if dropout >= 0.5:", "    return X * 0", "return X * torch.rand(X.shape)"),
        {"one_number", "kept_values_vary"}, "torch.rand",
    ),
    "nothing": (layer("return X"), {"nothing_dropped"}, "return X"),
    "mask unused": (layer(MASK, "return X / (1 - dropout)"), {"nothing_dropped"}, "return X / "),
    "no comparison": (layer("mask = torch.rand(X.shape)", SCALED), {"no_threshold"}, "torch.rand"),
    "gaussian noise": (
        layer("return X * (1 + torch.randn(X.shape) * (dropout / (1 - dropout)) ** 0.5)"),
        {"no_threshold"}, "randn",
    ),
    "additive on the kept": (
        layer(MASK, "return mask * (X + torch.rand(X.shape)) / (1 - dropout)"),
        {"kept_values_vary", "wrong_gradient"}, "torch.rand",
    ),
    "by value": (layer("mask = (X > dropout).float()", SCALED), {"by_value", "wrong_rate"}, "X > dropout"),
    "one mask for the batch": (
        layer("mask = (torch.rand(X.shape[1]) > dropout).float()", SCALED), {"mask_shared"}, "X.shape[1]",
    ),
    "one mask for the batch, of a row": (
        layer("mask = torch.rand_like(X[0]) > dropout", SCALED), {"mask_shared"}, "rand_like(X[0])",
    ),
    "one mask for the batch, randn": (
        layer("mask = torch.randn(1, X.shape[1]) > dropout", SCALED), {"mask_shared", "randn"}, "torch.randn",
    ),
    "one number an image": (
        layer("mask = torch.rand(len(X), 1) > dropout", SCALED), {"mask_per_image"}, "len(X)",
    ),
    "one number": (layer("mask = float(random.random() > dropout)", SCALED), {"one_number"}, "random.random"),
    "one number of a tensor": (layer("mask = torch.rand(1) > dropout", SCALED), {"one_number"}, "rand(1)"),
    "mask kept": (
        layer("if dropout not in masks:", "    masks[dropout] = torch.rand(X.shape) > dropout",
              "mask = masks[dropout]", SCALED, before="masks = {}"),
        {"mask_reused"}, "torch.rand(X.shape)",
    ),
    "seed in the function": (
        layer("torch.manual_seed(42)", MASK, SCALED), {"mask_reused"}, "manual_seed(42)",
    ),
    "seed of the check itself": (
        layer("torch.manual_seed(0)", MASK, SCALED), {"mask_reused"}, "manual_seed(0)",
    ),
    "generator made anew": (
        layer("rng = np.random.default_rng(1)", "mask = torch.tensor(rng.random(X.shape) > dropout)", SCALED),
        {"mask_reused"}, "default_rng(1)",
    ),
    "random numbers drawn once": (
        layer("mask = numbers[:len(X), :X.shape[1]] > dropout", SCALED, before="numbers = torch.rand(512, 512)"),
        {"mask_reused"}, "numbers = torch.rand",
    ),
    "mask of half a batch": (
        layer("half = torch.rand(len(X) // 2, X.shape[1]) > dropout", "mask = torch.cat([half, half])", SCALED),
        {"mask_repeats"}, "torch.cat",
    ),
    "mask of half a layer": (
        layer("half = torch.rand(len(X), X.shape[1] // 2) > dropout",
              "mask = half.repeat_interleave(2, dim=1)", SCALED),
        {"mask_repeats"}, "repeat",
    ),
    "no edge at 1": (layer(MASK, SCALED, edges="\n"), {"edge_one"}, "return mask"),
    "edges swapped": (
        layer(MASK, SCALED, edges="\n    if dropout == 0:\n        return torch.zeros_like(X)\n"
              "    if dropout == 1:\n        return X\n"),
        {"edge_zero", "edge_one"}, "dropout == 0",
    ),
    "edge is an error": (
        changed(("<= dropout <= 1", "<= dropout < 1")), {"edge_one"}, "assert",
    ),
    "division by the mask": (layer(MASK, "return X / mask"), {"not_finite"}, "/ mask"),
    "no return": (layer(MASK, "mask * X / (1 - dropout)"), {"no_result"}, "mask * X / (1 - dropout)"),
    "two results": (layer(MASK, "return mask * X, mask"), {"no_result"}, "return"),
    "summed": (layer(MASK, "return (mask * X / (1 - dropout)).sum(0)"), {"shape"}, "return"),
    "a slip in a name": (layer(MASK, "return maks * X / (1 - dropout)"), {"stops"}, "return maks"),
    "mask of a fixed shape": (layer("mask = torch.rand(256, 256) > dropout", SCALED), {"stops"}, "return mask"),
    "detached": (
        layer("x = X.detach().numpy()", "mask = (np.random.rand(*x.shape) > dropout).astype(np.float32)",
              "return torch.from_numpy(mask * x / np.float32(1 - dropout))"),
        {"no_gradient"}, "detach()",
    ),
    "made a new tensor": (layer(MASK, "return torch.tensor(mask * X / (1 - dropout))"), {"no_gradient"}, "tensor("),
    "straight through": (
        layer(MASK, "out = X.clone()", "out.data = mask * X.data / (1 - dropout)", "return out"),
        {"wrong_gradient"}, ".data",
    ),
    "a mask of doubles": (
        layer("mask = torch.tensor(np.random.binomial(1, 1 - dropout, X.shape) * 1.0)", SCALED), {"dtype"}, "np.",
    ),
    "in place": (layer(MASK, "X *= mask", "X /= 1 - dropout", "return X"), {"in_place"}, "X *= mask"),
    # Net
    "active when evaluating": (
        changed(("if self.training == True:", "if True:")), {"active_in_evaluation"}, "H1 =",
    ),
    "an attribute of its own": (
        changed(("self.training", "self.is_training")), {"active_in_evaluation"}, "dropout_layer(",
    ),
    "functional, always on": (
        changed(("dropout_layer(H1, dropout1)", "F.dropout(H1, dropout1)"), (" == True:", " or True:")),
        {"active_in_evaluation"}, "F.dropout(",
    ),
    "turned round": (
        changed(("self.training == True", "not self.training")), {"active_in_evaluation", "never_drops"}, "H1 =",
    ),
    "scaled when evaluating": (
        changed((TWICE, TWICE + "        else:\n            H2 = H2 * (1 - dropout2)\n")),
        {"changed_in_evaluation"}, "1 - dropout2",
    ),
    "on the logits": (
        changed((TWICE, ""), ("        return out", "        if self.training:\n"
                              "            out = dropout_layer(out, dropout2)\n        return out")),
        {"noise_on_logits"}, "dropout_layer(",
    ),
    "on the logits as well": (
        changed(("        return out", "        return dropout_layer(out, dropout2) if self.training else out")),
        {"noise_on_logits"}, "dropout_layer(",
    ),
    "on the input": (
        changed(("        H1 = self.relu", "        if self.training:\n            X = dropout_layer(X, dropout1)\n"
                                           "        H1 = self.relu")),
        {"noise_on_input"}, "dropout_layer(X",
    ),
    "on the input, nn.Dropout": (
        changed(("        self.relu = nn.ReLU()", "        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.1)"),
                ("        H1 = self.relu", "        X = self.drop(X)\n        H1 = self.relu")),
        {"noise_on_input"}, "self.drop(X",
    ),
    "never": (
        changed(("H1 = dropout_layer", "unused = dropout_layer"), ("H2 = dropout_layer", "unused = dropout_layer")),
        {"never_drops"}, "dropout_layer(",
    ),
    "not called": (
        changed(("            H1 = dropout_layer(H1, dropout1)", "            pass"),
                ("            H2 = dropout_layer(H2, dropout2)", "            pass")),
        {"never_drops"}, "self.training",
    ),
    "first layer twice": (
        changed(("H2 = dropout_layer(H2, dropout2)", "H1 = dropout_layer(H1, dropout2)")),
        {"twice"}, "dropout_layer(",
    ),
    "masks made in init": (
        changed(("self.relu = nn.ReLU()", "self.relu = nn.ReLU(); self.mask = torch.rand(num_hiddens1) > 0.2"),
                ("H1 = dropout_layer(H1, dropout1)", "H1 = H1 * self.mask / 0.8"), (TWICE, "")),
        {"net_mask_reused"}, "torch.rand",
    ),
    "masks of one row in forward": (
        changed(("H1 = dropout_layer(H1, dropout1)", "H1 = H1 * (torch.rand(256) > 0.2) / 0.8"), (TWICE, "")),
        {"net_mask_shared"}, "torch.rand",
    ),
    "arguments in another order": (
        changed(("num_outputs, num_hiddens1, num_hiddens2, is", "num_hiddens1, num_hiddens2, num_outputs, is")),
        {"net_outputs"}, "def __init__",
    ),
    "a slip in forward": (changed(("out = self.lin3(H2)", "out = self.lin4(H2)")), {"net_stops"}, "lin4"),
}  # fmt: skip

RIGHT: dict[str, str] = {
    "the book's": BOOK,
    "the book's, without Net": BOOK_LAYER,
    "torch.rand with <": layer("return X * (torch.rand(X.shape) < 1 - dropout) / (1 - dropout)"),
    "rand_like": layer("mask = torch.rand_like(X) >= dropout", "return X.mul(mask).div(1 - dropout)"),
    "bernoulli": layer("keep = 1 - dropout", "return torch.bernoulli(torch.full_like(X, keep)) * X / keep"),
    "bernoulli_": layer("return torch.empty_like(X).bernoulli_(1 - dropout) * X / (1 - dropout)"),
    "distribution": layer(
        "mask = torch.distributions.Bernoulli(1 - dropout).sample(X.shape)", "return mask * X / (1 - dropout)"
    ),
    "numpy": layer(
        "mask = torch.from_numpy((np.random.rand(*X.shape) > dropout).astype(np.float32))",
        "return mask * X / (1 - dropout)",
    ),
    "numpy's generator, unseeded": layer(
        "mask = torch.tensor(rng.binomial(1, 1 - dropout, X.shape), dtype=X.dtype)",
        "return mask * X / (1 - dropout)",
        before="rng = np.random.default_rng()",
    ),
    "numpy all through": layer(
        "mask = np.random.random(X.shape) > dropout",
        "return mask * X / (1 - dropout)",
        edges=EDGES.replace("torch", "np"),
    ).replace("return X\n", "return X.copy()\n"),
    "functional": layer("return F.dropout(X, dropout)", edges="\n"),
    "functional, training given": layer("return F.dropout(X, p=dropout, training=True)", edges="\n"),
    "a module": layer("return nn.Dropout(dropout)(X)", edges="\n"),
    "in place on a copy": layer(
        "out = X.clone()", "out[torch.rand(X.shape) <= dropout] = 0", "out /= 1 - dropout", "return out"
    ),
    "masked_fill": layer("return X.masked_fill(torch.rand(X.shape) < dropout, 0.0) / (1 - dropout)"),
    "where": layer("return torch.where(torch.rand(X.shape) > dropout, X / (1 - dropout), 0.0)"),
    "a mask of doubles, cast": layer(
        "mask = torch.rand(X.shape, dtype=torch.float64) > dropout",
        "return (mask.double() * X / (1 - dropout)).float()",
    ),
    "a mask of whole numbers": layer("mask = (torch.rand(X.shape) > dropout).int()", SCALED),
    "half precision inside": layer(MASK, "return (X.half() * mask / (1 - dropout)).to(X.dtype)"),
    "whole random numbers": layer("return X * (torch.randint(0, 1000, X.shape) >= 1000 * dropout) / (1 - dropout)"),
    "no special case of 0": layer(MASK, SCALED, edges="\n    if dropout == 1:\n        return X * 0\n"),
    "exactly the share": layer(
        "k = round(dropout * X.numel())", "mask = torch.ones(X.numel())", "mask[torch.randperm(X.numel())[:k]] = 0",
        "return mask.view_as(X) * X / (1 - dropout)",
    ),
    "exactly the share of each image": layer(
        "order = torch.rand(X.shape).argsort(1).argsort(1)", "mask = order >= round(dropout * X.shape[1])", SCALED
    ),
    "divided by what was kept": layer(MASK, "return mask * X / mask.mean()"),
    "a loop": layer(
        "n, d = X.shape",
        "mask = torch.tensor([[random.random() > dropout for _ in range(d)] for _ in range(n)])",
        SCALED,
    ),
    "other names": "\n\ndef dropout_layer(h, p=0.5, training=True):\n"
    "    if p >= 1:\n        return torch.zeros_like(h)\n"
    "    return h * (torch.rand(h.shape) >= p) / (1 - p)\n",
    "lambda": "\ndropout_layer = lambda X, p: F.dropout(X, p)\n",
    "its own seed, outside": "torch.manual_seed(1)\n" + BOOK,
    "layers of other names": changed(("lin1", "hidden_a"), ("lin2", "hidden_b"), ("lin3", "head")),
    "if self.training": changed(("self.training == True", "self.training")),
    "without is_training": changed((", is_training=True", ""), ("        self.training = is_training\n", "")),
    "rate 0 when evaluating": changed(
        ("        if self.training == True:\n            H1 = dropout_layer(H1, dropout1)",
         "        H1 = dropout_layer(H1, dropout1 if self.training else 0)"),
    ),
    "before the activation": changed(
        ("H2 = self.relu(self.lin2(H1))", "H2 = self.lin2(H1)"),
        ("out = self.lin3(H2)", "out = self.lin3(self.relu(H2))"),
    ),
    "F.dropout in Net": changed(
        ("H1 = dropout_layer(H1, dropout1)", "H1 = F.dropout(H1, 0.2, self.training)"),
        ("H2 = dropout_layer(H2, dropout2)", "H2 = F.dropout(H2, p=0.5, training=self.training)"),
    ),
    "nn.Dropout in Sequential": BOOK_LAYER + """
class Net(nn.Module):
    def __init__(self, num_inputs, num_outputs, num_hiddens1, num_hiddens2):
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(num_inputs, num_hiddens1), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(num_hiddens1, num_hiddens2), nn.ReLU(), nn.Dropout(0.5), nn.Linear(num_hiddens2, num_outputs))

    def forward(self, X):
        return self.net(X)
""",
    "a module around dropout_layer": BOOK_LAYER + """
class Drop(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, X):
        return dropout_layer(X, self.rate) if self.training else X

def Net(num_inputs, num_outputs, num_hiddens1, num_hiddens2):
    return nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_hiddens1), nn.ReLU(), Drop(0.2),
                         nn.Linear(num_hiddens1, num_hiddens2), nn.ReLU(), Drop(0.5),
                         nn.Linear(num_hiddens2, num_outputs))
""",
    "widths of its own": changed(
        ("nn.Linear(num_inputs, num_hiddens1)", "nn.Linear(784, 64)"),
        ("nn.Linear(num_hiddens1, num_hiddens2)", "nn.Linear(64, 64)"),
        ("nn.Linear(num_hiddens2, num_outputs)", "nn.Linear(64, 10)"),
    ),
    "rates as arguments": changed(
        ("num_hiddens2, is_training=True", "num_hiddens2, dropout1, dropout2, is_training=True"),
        ("self.relu = nn.ReLU()", "self.relu, self.dropout1, self.dropout2 = nn.ReLU(), dropout1, dropout2"),
        ("H1, dropout1", "H1, self.dropout1"), ("H2, dropout2", "H2, self.dropout2"),
    ),
    "rows of pixels only": changed(("X.reshape((-1, self.num_inputs))", "X")),
    "weights of zeros": changed(
        ("        self.relu", "        nn.init.zeros_(self.lin3.weight)\n        self.relu")
    ),
    "batch normalisation": changed(
        ("self.relu = nn.ReLU()", "self.relu, self.norm = nn.ReLU(), nn.BatchNorm1d(num_hiddens1)"),
        ("self.relu(self.lin1(X.reshape((-1, self.num_inputs))))",
         "self.relu(self.norm(self.lin1(X.reshape((-1, self.num_inputs)))))"),
    ),
    "asks for autograd instead of the mode": changed(("self.training == True", "torch.is_grad_enabled()")),
    "double precision all through": "torch.set_default_dtype(torch.float64)\n" + BOOK,
    "double precision, without Net": "torch.set_default_dtype(torch.float64)\n" + BOOK_LAYER,
    "small rates": changed(("0.2, 0.5", "0.0001, 0.001")),
    "a rate of 1": changed(("0.2, 0.5", "0.2, 1.0")),
}  # fmt: skip
