"""Words that a text names only to deny them: `not urgent`, `I expected a negative stay, but …`."""

from __future__ import annotations

import re

MAX_MENTIONS = 100  # of one word that are looked at
BEFORE_CHARS, AFTER_CHARS = 100, 80  # around a mention
MAX_WORDS_BETWEEN = 3  # between a negation and the word that it denies
MIN_WORD_CHARS = 3

_NEGATION = re.compile(
    r"(?:\b(?:not|no|never|nothing|neither|nor|without|hardly|cannot|nicht|kein\w*|nie|niemals|ohne"
    r"|weder|pas|aucune?|jamais|sans|ni|rien|nunca|jam\u00e1s|sin|ning[u\u00fa]n\w*|nada|non|mai"
    r"|senza|nessun\w*|n\u00e9|n\u00e3o|sem|nenhum\w*|niet|geen|nooit|zonder)|n['\u2019]t)\b"
)
#: After a negation these words keep it from denying: `not only`, `could not be more`, `no doubt`.
_SOFTENERS = re.compile(
    r"\b(?:only|just|merely|more|less|this|that|so|such|as|too|always|all|entirely|doubt|question"
    r"|wonder|nur|blo\u00df|so|mehr|immer|ganz|zweifel|seulement|plus|si|toujours|doute|s\u00f3lo"
    r"|solo|solamente|m\u00e1s|tan|siempre|duda|soltanto|pi\u00f9|sempre|cos\u00ec|dubbio|s\u00f3"
    r"|mais|t\u00e3o|d\u00favida|alleen|zo|meer|altijd|twijfel)\b"
)
_EXPECTATION = re.compile(
    r"\b(?:expect\w*|fear\w*|th(?:ink|ought)|assum\w*|believ\w*|worr\w+|warn\w*|hop(?:ed?|ing)"
    r"|anticipat\w*|suppos\w*|imagin\w*|erwart\w*|bef\u00fcrcht\w*|(?:ge)?dacht\w*|(?:ge)?hofft\w*"
    r"|angenommen|attend\w+|crai(?:gn\w+|nt\w*)|pens\w+|croy\w+|esp[e\u00e9]r\w+|tem\w+|cre\w+"
    r"|aspett\w+|achava|verwacht\w*|vrees\w*)\b"
)
_CONTRAST = re.compile(
    r"\b(?:but|yet|however|instead|aber|doch|sondern|jedoch|mais|pourtant|pero|sin embargo|ma"
    r"|per\u00f2|mas|por\u00e9m|maar)\b(?P<rest>.*)",
    re.DOTALL,
)
_CONFIRMATION = re.compile(
    r"\b(?:even|worse|better|still|really|indeed|exactly|noch|wirklich|genau|pire|encore|peor"
    r"|a\u00fan|peggio|ancora|pior|ainda|erger|nog)\b"
)
#: A condition or an end makes it unsure what is denied: `if not late`, `never late until today`.
_CONDITION = re.compile(
    r"\b(?:if|unless|whether|sure|certain|wenn|falls|ob|sicher|s\u00fbr|segur[oa]|sicur[oa]|zeker)\b"
)
_UNTIL = re.compile(r"\b(?:until|till|before|bis|jusqu\w*|hasta|fino|at\u00e9|tot)\b")
_SENTENCE_END = re.compile(r"[.!?\n]")
_CLAUSE_END = re.compile(r"[.!?\n,;:()]|\b(?:but|aber|mais|pero|ma|mas|maar)\b")


def denies(text: str, word: str) -> bool:
    """Return whether a text names a word, and each time only to deny it.

    False also if in doubt: in a question, or if the negation may be of something else.
    """
    if len(word) < MIN_WORD_CHARS or not word.replace(" ", "").isalpha():
        return False
    text, word = text.casefold(), word.casefold()
    mentions = list(re.finditer(rf"\b{re.escape(word)}\b", text))
    return 0 < len(mentions) <= MAX_MENTIONS and all(
        _is_denied(text[max(0, at.start() - BEFORE_CHARS) : at.start()],
                   text[at.end() : at.end() + AFTER_CHARS])
        for at in mentions
    )  # fmt: skip


def _is_denied(before: str, after: str) -> bool:
    end = _SENTENCE_END.search(after)
    sentence, rest = _SENTENCE_END.split(before)[-1], after[: end.start() if end else None]
    if (end and end[0] == "?") or _CONDITION.search(sentence) or _UNTIL.search(rest):
        return False
    return _is_negated(sentence) or _is_contrasted(sentence, after)


def _is_negated(sentence: str) -> bool:
    """Return whether the last clause of this beginning of a sentence ends with a negation."""
    clause = _CLAUSE_END.split(sentence)[-1]
    negations = list(_NEGATION.finditer(clause))
    if not negations or _EXPECTATION.search(clause):
        return False
    between = clause[negations[-1].end() :]
    return len(between.split()) <= MAX_WORDS_BETWEEN and not _SOFTENERS.search(between)


def _is_contrasted(sentence: str, after: str) -> bool:
    """Return whether what was expected, in this beginning of a sentence, did not come."""
    contrast = _CONTRAST.search(after)
    if not contrast or not _EXPECTATION.search(sentence) or _NEGATION.search(sentence):
        return False
    return not _CONFIRMATION.search(contrast["rest"])
