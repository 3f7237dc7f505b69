"""What Hydra says of a command line or a config file, in one line that names key, value and what would be right.

It is longer than other files, as one table holds a third of it: what Hydra says of each kind of fault, and our line
for it. The functions find the key, the value and what is right for these lines.
"""

from __future__ import annotations

import difflib
import re
import sys
import traceback
from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"

ALIKE = 0.74
"""From which likeness on a key is taken for another one, mistyped."""
HELP = "`python -m src.train --help` lists"
QUOTES = "a value with special characters needs quotes, KEY='\"VALUE\"'"
LISTS = r"tags|logger|hydra\.sweeper\.(?:arms|metric|direction|until\.looks|primary\.contrast)"
"""Keys whose value may be a list."""
MERGING = r"Error merging override (?P<typed>\+*(?P<key>[^\s=]+))="
SENTENCES: tuple[tuple[str, str], ...] = (
    (
        r"Could not find '(?P<group>[\w/]+)/(?P<name>[^']*)'\s+"
        r"Available options in '[\w/]+':\s*(?P<choices>.*?)\n(?:Config|<-)",
        "{group}={name}: there is no such choice{lacks}; choose one of {choices}",
    ),
    (
        r"Could not override '(?P<key>[^']+)'.*<- (?:.*not in struct|$)",
        "{typed}: {unknown}",
    ),
    (
        r"Could not override '(?P<key>[^']+)'.*<- (?P<why>.+)",
        f"{{typed}}: there is no such key ({{why}}); {HELP} the keys",
    ),
    (
        rf"{MERGING}(?P<all>[^\n{{]+)\n.*is not a ListConfig",
        "{typed}={all}: must be a list, such as {key}=[{all}]",
    ),
    (
        rf"{MERGING}(?P<all>\{{[^\n]*)\n.*Cannot merge DictConfig with ListConfig",
        "{typed}={all}: must be a list, such as {key}=[a,b]",
    ),
    (
        rf"{MERGING}(?P<all>[^\n]*)\n.*(?:Cannot (?:merge Dict|assign \w+ to Dict)|is not a subclass of)",
        "{typed}={all}: must be keys with their values, such as {key}={{KEY:VALUE}}",
    ),
    (
        rf"{MERGING}(?P<all>[^\n]*)\n.*(?:not an int|literal for int|list index out|type for root)",
        "{typed}={all}: a list is given as a whole, such as tags=[pilot,final]",
    ),
    (
        rf"{MERGING}(?P<all>[^\n]*).*<- Unexpected type annotation: ",
        '{typed}={all}: must be texts in quotes, such as \'{key}=["TEXT","TEXT"]\'',
    ),
    (r"Error merging override (?P<typed>[^\n]+).*<- (?P<why>.*)", "{typed}: {why}"),
    (
        r"(?:Ambiguous value for argument|Sweep parameters|Sweeping over Hydra's configuration is not supported :) "
        rf"'(?P<typed>(?P<key>{LISTS})=(?P<all>[^'(\[]+))'",
        "{typed}: several are a list, {key}=[{all}]",
    ),
    (
        r"In '(?P<file>[\w/-]+)': \w+ raised while composing config:.*is not a ListConfig",
        "{path}{inner}: must be a list, such as [a,b]",
    ),
    (
        r"In '(?P<file>[\w/-]+)': \w+ raised while composing config:\s+(?:Merge error: )?(?P<why>[^\n]+)",
        "{path}{inner}: {why}",
    ),
    (
        r"Sweeping over Hydra's configuration is not supported : '(?P<typed>[^\n]+)'",
        "{typed}: takes one value in a sweep",
    ),
    (
        r"(?:Ambiguous value for argument|Sweep parameters) '(?P<typed>[^']+)'",
        "{typed}: a single run takes one value; add -m to sweep over several (in Python, call sweep)",
    ),
    (r"Config group override must be a string", f"{{nameless}}: must be the name of a choice; {HELP} them"),
    (
        r"(?P<key>\S+)(?: appears more than once in the final defaults list|\. To override a value use)",
        "{typed}: {key} has a choice already; change it by {key}=NAME, without a +",
    ),
    (
        r"force-add of config groups is not supported: '(?P<typed>[^']+)'",
        "{typed}: a choice is changed by KEY=NAME, without a +",
    ),
    (
        r"An item is already at '(?P<key>[^']+)'",
        "{typed}: {key} has a value already; change it by {key}=VALUE, without a +",
    ),
    (
        r"Could not delete from config\. '(?P<key>[^']+)' does not exist",
        f"{{typed}}: there is no such key to delete, or it is null; {HELP} the keys",
    ),
    (
        r"Could not load '(?P<key>[\w/]+)/[^']*'\.",
        f"{{typed}}: must be the name of one choice; {HELP} them",
    ),
    (
        r"Error parsing override '(?P<typed>.*?)'\n.*Unknown function '(?P<name>\w+)'\nAvailable: (?P<known>\S+)",
        "{typed}: there is no function {name}; choose one of {known}",
    ),
    (
        r"Error parsing override '(?P<typed>.*?)'\n\w+ while evaluating '(?P<call>.*?)': (?P<why>[^\n]+)",
        "{typed}: in {call}, {why}",
    ),
    (
        r"Error parsing override '(?P<typed>\+*hydra\.sweeper\.arms=[^'\"\n]*=.*?)'\n",  # the shell took the quotes
        '{typed}: must be texts in quotes, such as \'hydra.sweeper.arms=["noise=dropout,gaussian","noise=none"]\'',
    ),
    (r"Error parsing override '(?P<typed>.*?)'\nmissing EQUAL", "{typed}: must be KEY=VALUE"),
    (
        r"Error parsing override '(?P<typed>.*?)'\nno viable alternative at input '(?P<read>.*)'",
        "{typed}: {unclosed}",
    ),
    (
        r"Error parsing override '(?P<typed>.*?)'\nLexerNoViableAltException: (?P<before>[^\n]*\n *)\^",
        "{typed}: {unquoted}",
    ),
    (
        r"Error parsing override '(?P<typed>.*?)'\n\w+ input '<EOF>'",
        "{typed}: something is missing at its end",
    ),
    (
        r"Error parsing override '(?P<typed>.*?)'\n\w+ input '(?P<at>.)",
        "{typed}: {misplaced}",
    ),
    (r"(?P<typed>)Could not override ''", "{typed}=: must be KEY=VALUE"),
)
"""What Hydra says, and what we say instead. A pattern is searched for in an error's text and, behind `<-`, that of
its cause; `typed` is the argument that sets `key`, and `nameless` the one that names no choice of its group."""


def sentence(error: BaseException) -> tuple[str, str] | None:
    """An error of Hydra's in our words: where it is, as a rule the argument as typed, and what would be right.

    None where the table has no words for it.
    """
    if path := config_file(error):
        return "", unreadable(path, error)
    if refused := logging_of(error):
        return refused
    message, cause = plain(error), plain(error.__cause__)
    if (override := getattr(error, "override", None)) and not message.startswith("Error parsing"):
        message = f"Error parsing override '{override}'\n{message}"
    if merged := merging(error):
        message, cause = f"Error merging override {merged}", message
    for pattern, template in SENTENCES:
        if match := re.search(pattern, f"{message}\n<- {cause}", re.S):
            words = {key: " ".join(value.split()) for key, value in match.groupdict().items()}
            key = words.get("key", "")
            words = {"typed": _typed(key), "nameless": _nameless(message), **words}
            words["unknown"] = (
                _unknown(key) if "{unknown}" in template else ""
            )  # it reads every file of conf/
            words["unquoted"] = _unquoted(match.groupdict().get("before", ""))
            words["unclosed"] = _unclosed(words["typed"], words.get("read", ""))
            words["misplaced"] = _misplaced(words["typed"], words.get("at", ""))
            words["path"], words["inner"] = _path(words.get("file", "")), _inner(error)
            words["lacks"] = _lacks(words.get("group", ""), words.get("name", ""))
            words["choices"] = ", ".join(words.get("choices", "").split())
            where, _, right = template.partition(": ")
            return where.format_map(words), right.format_map(words)
    if match := re.search(r"Interpolation key '(?P<missing>.*?)' not found|Recursive interpolation", message):
        missing = match["missing"]
        why = f"there is no key {missing}; {HELP} the keys" if missing else "its value would be its own"
        return _asking(error, missing or ""), why
    full_key = getattr(error, "full_key", None)
    return (_typed(full_key), message) if full_key else None


def unreadable(path: object, error: BaseException) -> str:
    """What is wrong with a file of YAML, and in which line."""
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    mark = getattr(error, "problem_mark", None)
    return f"{path} cannot be read: {f'line {mark.line + 1}: ' if mark else ''}{problem}"


def plain(error: BaseException | None) -> str:
    """An error's text without OmegaConf's notes on types."""
    return re.sub(r"\s*(full_key|object_type|reference_type)[:=].*", "", str(error or ""))


def config_file(error: BaseException) -> str | None:
    """The YAML that Hydra was reading when it met this error."""
    if "yaml" not in sys.modules:
        return None
    import yaml

    frames = (
        traceback.walk_tb(error.__traceback__) if isinstance(error, UnicodeError | yaml.YAMLError) else ()
    )
    read = (
        f.f_locals.get("full_path") for f, _ in frames if f.f_globals.get("__name__", "").startswith("hydra.")
    )
    return next((path.removeprefix(f"{CONF.parent}/") for path in read if isinstance(path, str)), None)


def merging(error: BaseException) -> str | None:
    """The override that Hydra was merging when OmegaConf met an error which is none of its own, as typed."""
    if type(error) not in (AssertionError, TypeError, ValueError):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    of_hydra = (f for f in frames if f.f_globals.get("__name__") == "hydra._internal.config_loader_impl")
    overrides = (getattr(f.f_locals.get("override"), "input_line", None) for f in of_hydra)
    return next(filter(None, overrides), None)


def logging_of(error: BaseException) -> tuple[str, str] | None:
    """An argument and what would be right of it, where Python's logging refused what Hydra's config lets pass: any
    value of `hydra.verbose`, any keys below `hydra.job_logging` and `hydra.hydra_logging`. None of other errors."""
    if type(error) not in (AssertionError, TypeError, ValueError):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [(frame.f_globals.get("__name__"), frame.f_code.co_name) for frame in frames]
    if ("hydra.core.utils", "configure_log") not in names:
        return None
    given = frames[names.index(("hydra.core.utils", "configure_log"))].f_locals
    if "hydra._internal.logging_config" in dict(names):
        key = given["log_config"]._get_full_key(None)
        where = next((a for a in sys.argv[1:] if f"{key_of(a)}.".startswith(f"{key}.")), key)
        why = " ".join(str(error.__cause__ or error).split())
        return where, f"{why}; must be what Python's logging.config.dictConfig takes"
    key = "hydra.verbose"
    where = _typed(key) if _typed(key) != key else f"{key}={given['verbose_config']}"
    return where, "must be true, false, or a list of names of loggers, such as [hydra]"


def setting(where: str) -> tuple[str, str | None] | None:
    """Key and value of an argument as typed; None of what is none, such as a line of a file.

    >>> setting("+noise=dropout"), setting("~noise"), setting("sweeps/mine.yaml, line 4")
    (('noise', 'dropout'), ('noise', None), None)
    """
    argument = re.fullmatch(r"[+~]*([\w./@-]+)(?:=(.*))?", where, re.S)
    return (key_of(argument[1]), argument[2]) if argument else None


def key_of(override: str) -> str:
    """The key an override sets: `dropout1` of `dropout1=0.2,0.5`, of `+dropout1=…` and of `~dropout1`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def _lacks(group: str, name: str) -> str:
    """Which file a component of this name lacks beside its code, in brackets; empty where there is no code."""
    paths = (f"src/{room}/{name}.py" for room in (group, f"{group}s"))
    path = next((path for path in paths if (CONF.parent / path).is_file()), None)
    return f" ({path} is there, and conf/{group}/{name}.yaml is not)" if path else ""


def _inner(error: BaseException) -> str:
    """The key that OmegaConf notes below an error's text, if any, behind a comma."""
    key = re.search(r"full_key: (\S+)", str(error))
    return f", {key[1]}" if key else ""


def _path(name: str) -> str:
    """The file of a config that Hydra knows as `name`, from the repository's root."""
    return f"{name.replace('sweep/', 'sweeps/') if name.startswith('sweep/') else f'conf/{name}'}.yaml"


def _typed(key: str) -> str:
    """The argument that sets `key`, as typed; the key itself if there is none."""
    return next((argument for argument in sys.argv[1:] if key_of(argument) == key), key)


def _asking(error: BaseException, missing: str) -> str:
    """What holds the interpolation that cannot be resolved: an argument, a key and its value, or a sweep's file."""
    if key := getattr(error, "full_key", None):
        typed = _typed(key)
        return typed if typed != key else f"{key}={getattr(error, 'child_node', None)}"
    asks = re.compile(rf"\$\{{\s*{re.escape(missing)}\s*\}}")
    lines = [(argument, argument) for argument in sys.argv[1:]]
    for name in (argument.partition("=")[2] for argument in sys.argv[1:] if key_of(argument) == "sweep"):
        path = CONF.parent / "sweeps" / f"{name}.yaml"
        text = path.read_text(errors="replace") if path.is_file() else ""
        lines += [(f"sweeps/{path.name}, line {n}", line) for n, line in enumerate(text.splitlines(), 1)]
    return next((where for where, text in lines if asks.search(text)), f"${{{missing}}}")


def _unknown(key: str) -> str:
    """What is wrong with a key that is not in the config; in a sweep it may be one of another choice's."""
    group, _, name = key.partition(".")
    is_sweep = any(
        argument in ("-m", "--multirun") or key_of(argument) == "sweep" for argument in sys.argv[1:]
    )
    files = (CONF / group).glob("[!.]*.yaml") if name and is_sweep else ()
    asks = re.compile(rf"^{re.escape(name)}:", re.M)
    having = [path.stem for path in files if asks.search(path.read_text(errors="replace"))]
    if having:
        typed, swept = _typed(key).lstrip("+"), _typed(group).partition("=")[2].split(",")
        cure = f"++{typed} gives it to each of the sweep"
        if not set(swept) <= set(having):  # its own check of options would refuse it
            arm = next((choice for choice in swept if choice in having), having[0])
            cure = f"give it to those that do in arms of the sweep, such as '{group}={arm} {typed}'"
        return f"not every {group} has this key; {cure}"
    return f"there is no such key{_meant(key)}; {HELP} the keys"


def _meant(key: str) -> str:
    """Which key was probably meant, for a key that is not in the config; empty if none is like it."""
    root = (CONF / "config.yaml").read_text(encoding="utf-8", errors="replace")
    having: dict[str, list[str]] = {
        name: [] for name in re.findall(r"^(\w+):", root, re.M) if name != "defaults"
    }
    having |= {f"probe.{name}": [] for name in re.findall(r"^  (\w+):", root, re.M)}
    shared = (CONF / "data_defaults.yaml").read_text(encoding="utf-8", errors="replace")
    having |= {f"data.{name}": [] for name in re.findall(r"^(\w+):", shared, re.M)}
    for path in sorted(CONF.glob("*/[!.]*.yaml")):
        group = path.parent.name
        having.setdefault(group, [])
        for name in re.findall(r"^(\w+):", path.read_text(encoding="utf-8", errors="replace"), re.M):
            having.setdefault(f"{group}.{name}", []).append(path.stem)
    if having.get(key):
        return f" here, but there is with {key.partition('.')[0]}={having[key][0]}"
    likeness = {name: _likeness(key, name) for name in having}
    alike = max(having, key=lambda name: likeness[name])
    return f", but {alike} is one" if likeness[alike] > ALIKE else ""


def _likeness(key: str, other: str) -> float:
    """Of 0 to 1, that of the parts between dots that are least alike, from the last part on as far as both go."""
    parts = zip(reversed(key.split(".")), reversed(other.split(".")), strict=False)
    return min(difflib.SequenceMatcher(None, *pair).ratio() for pair in parts)


def _unclosed(typed: str, read: str) -> str:
    """What is wrong with an argument that could be read as far as `read`."""
    brackets: list[str] = []
    for character in typed:
        if character in "([{":
            brackets.append(character)
        elif brackets and brackets[-1] + character in ("()", "[]", "{}"):
            brackets.pop()
    return f"its {brackets[-1]} is not closed" if brackets else f"cannot be read behind {read}"


def _misplaced(typed: str, at: str) -> str:
    """What is wrong with an argument in which the character `at` was met where none such may stand."""
    unclosed = _unclosed(typed, "")
    return unclosed if "not closed" in unclosed else f"a {at or repr(' ')} cannot stand there; {QUOTES}"


def _unquoted(before: str) -> str:
    """What is wrong with an argument, as Hydra prints it behind 27 characters, above a mark."""
    typed, _, mark = before.partition("\n")
    rest = typed[max(0, len(mark) - 27) :]
    if rest[:1] in ("'", '"'):
        return f"the quote in front of {rest[1:]} is not closed"
    return f"a {rest[:1]!r} cannot stand there; {QUOTES}"


def _nameless(message: str) -> str:
    """The argument that gives a group something else than a name."""
    no_name = re.compile(r"[=,]\s*(null|true|false|[-+.\d][-+.\w]*)\s*(,|$)", re.I)
    return next((a for a in sys.argv[1:] if _is_group(key_of(a)) and no_name.search(a)), message)


def _is_group(key: str) -> bool:
    return key == "sweep" or key.startswith("hydra/") or (CONF / key).is_dir()
