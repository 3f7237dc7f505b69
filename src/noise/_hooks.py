"""Checks of a noise's file before the noise is tried: its hooks, and its `RATE`."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import signature
from typing import Any

from src.checks import Check, integer, real
from src.components import find, find_class, shown_path
from src.errors import InputError
from src.noise import HOOKS, Noise

BESIDES = ("merge", "shares", "parameters", "penalty", "metrics")
"""Methods beside the hooks that a noise may override."""


def check_of_rates(name: str) -> Check:
    """The check of the rates that a noise can take, its file's `RATE`.

    Raises:
        InputError: if it is none, or the noise does nothing because of how it is written: its class overrides no
            hook (but for `none`), several of them, or `drop` without `factor`.
    """
    if problem := _problem_of_hooks(find_class("noise", name, Noise), name):
        raise InputError("noise", name, f"{shown_path('noise', name)} {problem}")
    check: Any = getattr(find("noise", name), "RATE", float)
    if not callable(check) or check in (real, integer):  # these make checks
        right = "RATE must be a check, such as RATE = real(0, 1, below=True)"
        raise InputError("noise", name, f"{shown_path('noise', name)}: {right}")
    return check


def _unfit(kind: type[Noise], hook: str) -> str | None:
    """The parameters of a hook, as it is defined, that cannot be called as ours are; None where it can be."""
    given = len(signature(getattr(Noise, hook)).parameters) - 1  # self is bound
    try:
        signature(getattr(object.__new__(kind), hook)).bind(*[None] * given)
    except TypeError:
        return _parameters(getattr(kind, hook))
    except ValueError:  # of code in C nobody knows
        pass
    return None


def _parameters(function: Any) -> str:
    return ", ".join(
        str(parameter).partition(":")[0] for parameter in signature(function).parameters.values()
    )


def _problem_of_hooks(kind: type[Noise], name: str) -> str | None:
    """The end of a sentence about the file of this class."""
    hooks = [hook for hook in HOOKS if kind.has(hook)]
    if not hooks and name != "none":
        methods = [key for key in vars(kind) if not key.startswith("_") and not hasattr(Noise, key)]
        similar = [(key, match) for key in methods for match in get_close_matches(key, HOOKS, 1)]
        meant = f"; is `{similar[0][0]}` meant to be `{similar[0][1]}`?" if similar else ""
        return f"must define one of {', '.join(HOOKS[1:])}, or it does nothing{meant}"
    for key in vars(kind):
        for match in get_close_matches(key, ("penalty", "parameters"), 1, 0.8):
            if key != match and not kind.has(match):
                return f"defines `{key}`, which nothing calls; is it meant to be `{match}`?"
    if hooks[:1] == ["drop"] and "factor" not in hooks:
        return "must define factor beside drop, which is its fast form and cannot stand alone"
    if "factor" in hooks and (kind.has("parameters") or kind.has("penalty")):
        return "must define activation, weight or product: no gradient goes through a factor"
    for hook in (*HOOKS, *BESIDES):
        if kind.has(hook) and (defined := _unfit(kind, hook)):
            return f"must define {hook}({_parameters(getattr(Noise, hook))}), and not {hook}({defined})"
    slow = [hook for hook in hooks if hook != "drop"]
    if len(slow) > 1:
        return f"must define one of {', '.join(HOOKS[1:])}, not {' and '.join(slow)}: one alone would count"
    return None
