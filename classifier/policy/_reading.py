"""TOML text -> name, default and rules, with every objection and its line."""

import tomllib
from dataclasses import dataclass, field
from typing import Any

from classifier.errors import PolicyError
from classifier.policy._columns import INPUT_COLUMNS, fields_of, nearest, shown
from classifier.policy._lines import Lines, dotted_line, find_lines, place_of_error
from classifier.policy._reach import Budget, Demand, contradiction, possible
from classifier.policy._tokens import Fail
from classifier.policy.expression import Expression
from classifier.tables import Verdict

__all__ = ["FIELDS", "RULE_LIMIT", "SIZE_LIMIT", "Parts", "Rule", "read"]

#: Characters of a policy file, and rules in it.
SIZE_LIMIT = 256 * 1024
RULE_LIMIT = 1000

_NAME_LIMIT = 200
_TOP_KEYS = ("name", "description", "default", "rule")
_RULE_KEYS = ("name", "when", "verdict")
_VERDICTS = {v.label: v for v in Verdict}
_SYNONYMS = {
    **dict.fromkeys(("pass", "accept", "permit"), "allow"),
    **dict.fromkeys(("log", "alert", "warn", "mark"), "flag"),
    **dict.fromkeys(("throttle", "limit", "slow", "shape"), "would_throttle"),
    **dict.fromkeys(("block", "deny", "drop", "reject"), "would_block"),
}

#: What ``tomllib`` says -> what to do.
_TOML_REMEDIES = {
    "Cannot overwrite a value": "give each key once; keys of the policy stand above all [[rule]]",
    "Illegal character '\\n'": 'close the quotes on the line, or put """ around several lines',
    "Unescaped '\\' in a string": "write two backslashes, or put the text in single quotes",
    "Invalid value": "put texts in plain quotes",
    "Invalid statement": "begin each line with a key and =, with [[rule]] or with #",
    "Expected '=' after a key": "write key = value on each line",
    "Expected ']": "write [[rule]]",
    "Expected newline": "write one key = value on each line, and ' within texts in double quotes",
}

FIELDS = fields_of(INPUT_COLUMNS)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy.

    Attributes
    ----------
    name : str
    when : Expression
        The flows that it applies to, unless an earlier rule does.
    verdict : Verdict
    line : int
        Where the rule begins in the file, from 1.
    """

    name: str
    when: Expression
    verdict: Verdict
    line: int


@dataclass(slots=True)
class Parts:
    """What was read: complete only where ``errors`` is empty.

    ``unsure`` holds the names of rules of which the limits left open whether they can apply.
    """

    path: str
    lines: Lines = field(default_factory=Lines)
    name: str = ""
    description: str = ""
    default: Verdict = Verdict.ALLOW
    rules: list[Rule] = field(default_factory=list)
    errors: list[PolicyError] = field(default_factory=list)
    unsure: list[Rule] = field(default_factory=list)

    def object_to(self, line: int, problem: str, remedy: str, *, to_key: bool = False) -> None:
        """Note an objection to the value on a line, or to the key or header there."""
        column = self.lines.column(line, of_key=to_key)
        self.errors.append(
            PolicyError(problem, path=self.path, line=line, column=column, remedy=remedy)
        )


def read(text: str, path: str) -> Parts:
    """Read a policy as far as it can be read; nothing raises but what is no text at all."""
    parts = Parts(path)
    if len(text) > SIZE_LIMIT:
        problem = f"the policy has more than {SIZE_LIMIT} characters"
        parts.object_to(1, problem, "keep addresses in a register, and rules few")
        return parts
    line = dotted_line(text)
    if line:
        parts.object_to(line, "this key has too many parts", "write plain [[rule]] tables")
        return parts
    try:
        data = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and numbers too long to convert
        line, column = place_of_error(error, text)
        said = str(error).split(" (at ")[0][:120]
        problem = f"this is not valid TOML: {said}"
        remedy = next((r for words, r in _TOML_REMEDIES.items() if said.startswith(words)), "")
        remedy = remedy or "write keys and values as toml.io describes"
        parts.errors.append(
            PolicyError(problem, path=path, line=line, column=column, remedy=remedy)
        )
        return parts
    except RecursionError:
        parts.object_to(1, "arrays or tables are nested too deep", "write plain [[rule]] tables")
        return parts
    lines = parts.lines = find_lines(text)
    _read_head(parts, data, lines)
    _read_rules(parts, data, lines)
    if not parts.errors:
        _refuse_the_unreachable(parts, lines)
    parts.errors.sort(key=lambda error: (error.line or 0, error.column or 0))
    return parts


def _read_head(parts: Parts, data: dict[str, Any], lines: Lines) -> None:
    for key in data:
        if key not in _TOP_KEYS:
            line = lines.top.get(key) or lines.tables.get(key, [{}])[0].get("", 1)
            problem = f"there is no key {shown(key)}"
            parts.object_to(line, problem, _meant(key, _TOP_KEYS), to_key=True)
    parts.name = _text(parts, data, "name", lines.top.get("name", 1), "the policy")
    if "description" in data:
        line = lines.top.get("description", 1)
        parts.description = _text(parts, data, "description", line, "the policy", limit=2000)
    default = _verdict(parts, data, "default", lines.top.get("default", 1), "the policy")
    parts.default = Verdict.ALLOW if default is None else default


def _read_rules(parts: Parts, data: dict[str, Any], lines: Lines) -> None:
    rules = data.get("rule")
    if not rules:
        others = data.keys() - {"rule"}
        if not any(nearest(key, _TOP_KEYS) == "rule" for key in others):  # told already
            line = lines.top.get("rule", 1)
            parts.object_to(line, "the policy has no rules", "add a [[rule]]", to_key=True)
        return
    if not isinstance(rules, list) or not all(isinstance(r, dict) for r in rules):
        line = lines.top.get("rule", 1)
        parts.object_to(line, "rule is not a list of tables", "write [[rule]] above each rule")
        return
    if len(rules) > RULE_LIMIT:
        line = lines.of("rule", RULE_LIMIT, tables=len(rules))
        parts.object_to(line, f"there are more than {RULE_LIMIT} rules", "join some of them")
        return
    seen: dict[str, int] = {}
    for index, data_of_rule in enumerate(rules):
        where = {
            key: lines.of("rule", index, key, tables=len(rules))
            for key in ("", *_RULE_KEYS, *data_of_rule)
        }
        rule = _rule(parts, data_of_rule, where)
        name = data_of_rule.get("name")
        if isinstance(name, str) and name in seen:
            problem = f"the rule on line {seen[name]} is named {shown(name)} too"
            parts.object_to(where["name"], problem, "give each rule a name of its own")
        elif isinstance(name, str):
            seen[name] = where[""]
        if rule is not None:
            parts.rules.append(rule)


def _rule(parts: Parts, data: dict[str, Any], where: dict[str, int]) -> Rule | None:
    before = len(parts.errors)
    for key in data:
        if key not in _RULE_KEYS:
            problem = f"a rule has no key {shown(key)}"
            remedy = _meant(key, _RULE_KEYS)
            if key in _TOP_KEYS:
                remedy = "write it above the first [[rule]]"
            parts.object_to(where[key], problem, remedy, to_key=True)
    name = _text(parts, data, "name", where["name"], "the rule")
    if name == "default":
        problem = "'default' stands for the flows that no rule applies to"
        parts.object_to(where["name"], problem, "name the rule otherwise")
    verdict = _verdict(parts, data, "verdict", where["verdict"], "the rule")
    when = data.get("when")
    if isinstance(when, bool):
        remedy = f'write it as text: when = "{str(when).lower()}"'
        parts.object_to(where["when"], "when is not text", remedy)
    elif not isinstance(when, str):
        problem = "when is not text" if "when" in data else "the rule has no when"
        parts.object_to(where["when"], problem, 'add a condition, such as when = "is_vpn"')
    else:
        try:
            condition = Expression._read(when, INPUT_COLUMNS, _failing(parts, where["when"]))
        except PolicyError as error:
            parts.errors.append(error)
        else:
            if verdict is not None and len(parts.errors) == before:
                return Rule(name, condition, verdict, where[""])
    return None


def _failing(parts: Parts, line: int) -> Fail:
    """Return what makes the errors of a condition that stands on a line."""

    def fail(position: int, problem: str, remedy: str) -> PolicyError:
        place = parts.lines.within(line, position)
        if place is None:  # in an inline table
            problem = f"condition, character {position + 1}: {problem}"
            return PolicyError(problem, path=parts.path, line=line, remedy=remedy)
        at, column = place
        return PolicyError(problem, path=parts.path, line=at, column=column, remedy=remedy)

    return fail


def _refuse_the_unreachable(parts: Parts, lines: Lines) -> None:
    """Object to each rule that no flow can get to; note those of which it is not known."""
    budget = Budget()
    for index, rule in enumerate(parts.rules):
        line = lines.of("rule", index, "when", tables=len(parts.rules))
        own: Demand = (rule.when.tree, True)
        if possible([own], FIELDS, budget) is False:
            why = contradiction(rule.when.tree, FIELDS, budget)
            problem = f"rule {shown(rule.name)} can never apply: {why}"
            parts.object_to(line, problem, "correct or remove it")
            continue
        earlier = parts.rules[:index]
        answer = possible([own, *((r.when.tree, False) for r in earlier)], FIELDS, budget)
        if answer is None:
            parts.unsure.append(rule)
        if answer is not False:
            continue
        cause = next(
            (r for r in earlier if possible([own, (r.when.tree, False)], FIELDS, budget) is False),
            None,
        )
        by = "the rules before it together take"
        against = ""
        if cause is not None:
            by = f"rule {shown(cause.name)} on line {cause.line} takes"
            if cause.verdict != rule.verdict:
                against = f", and says {cause.verdict.label}, not {rule.verdict.label}"
        problem = f"rule {shown(rule.name)} can never apply: {by} all of its flows{against}"
        parts.object_to(line, problem, "move it up, narrow what stands before it, or remove it")


def _text(
    parts: Parts, data: dict[str, Any], key: str, line: int, owner: str, limit: int = _NAME_LIMIT
) -> str:
    value = data.get(key)
    if key not in data:
        parts.object_to(line, f"{owner} has no {key}", f"add {key} = ...", to_key=True)
    elif not isinstance(value, str):
        parts.object_to(line, f"{key} is not text", "write it in quotes")
    elif not value.strip():
        parts.object_to(line, f"{key} is empty", f"use 1 to {limit} printable characters")
    elif len(value) > limit:
        problem = f"{key} has more than {limit} characters"
        parts.object_to(line, problem, f"use 1 to {limit} printable characters")
    elif not value.isprintable():
        bad = next(c for c in value if not c.isprintable())
        problem = f"{key} holds U+{ord(bad):04X}, which does not print"
        parts.object_to(line, problem, "use printable characters on one line")
    else:
        return value
    return ""


def _verdict(parts: Parts, data: dict[str, Any], key: str, line: int, owner: str) -> Verdict | None:
    value = data.get(key)
    if key not in data:
        remedy = f"add {key}: {', '.join(_VERDICTS)}"
        parts.object_to(line, f"{owner} has no {key}", remedy, to_key=True)
    elif not isinstance(value, str) or value not in _VERDICTS:
        named = shown(value) if isinstance(value, str) else "what stands here"
        word = value.lower() if isinstance(value, str) else ""
        guess = _SYNONYMS.get(word) or nearest(word, [*_VERDICTS, *_SYNONYMS])
        guess = _SYNONYMS.get(guess, guess)
        remedy = f"did you mean {guess}?" if guess else f"it is one of {', '.join(_VERDICTS)}"
        parts.object_to(line, f"{named} is no verdict", remedy)
    else:
        return _VERDICTS[value]
    return None


def _meant(key: str, options: tuple[str, ...]) -> str:
    guess = nearest(key, options)
    return f"did you mean {guess}?" if guess else f"the keys are {', '.join(options)}"
