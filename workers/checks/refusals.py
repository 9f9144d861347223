"""Refusals: a text that declines to answer. English, German, French, Spanish and Italian."""

from __future__ import annotations

import re

_ENGLISH = r"""
    (?: (?: (?:i['\u2019]m|i\ am|we['\u2019]re|we\ are)\s )?
        (?: (?:very|so|really|truly)\s )? (?:sorry|afraid) \b .{0,60}? \b )?
    (?: (?:unfortunately|regrettably) ,? \s )?
    (?: (?:i|we)
        (?: \scan\s?not | \scan['\u2019]t | \swon['\u2019]t | \swill\snot
          | (?:['\u2019]m|\sam|['\u2019]re|\sare) \s (?:unable|not\sable) \s to )
        \s (?:\w+\s)?
        (?: help | assist|provide|comply|fulfil|create|generate|answer|write|do|discuss
          | continue|produce|share|support|offer|engage|process|complete|summari[sz]e )
        (?! \s(?:but|wondering|thinking|feeling|noticing|admiring|smiling) \b )
      | (?:\w+\s){0,9}? as\san?\s (?:ai|artificial|chatbot|large\slanguage|language\smodel) \b )
"""
_OTHERS = r"""
    (?: (?:es\stut\smir\s(?:sehr\s)?leid|tut\smir\sleid|leider|entschuldigung) \b .{0,40}?
        \b (?:kann|darf|m\u00f6chte)\s ich .{0,80}? \b nicht \b
      | (?:es\stut\smir\s(?:sehr\s)?leid|tut\smir\sleid) ,? .{0,20}? \b ich\s (?:kann|darf) \b
        .{0,80}? \b (?:nicht|keine?n?) \b
      | ich\s (?:kann|darf) \s .{0,60}? \b (?:nicht|keine?n?)\s .{0,60}?
        (?:helfen|beantworten|erstellen|zusammenfassen|weiterhelfen)
      | (?:je\ssuis\s(?:vraiment\s)?d\u00e9sol\u00e9e?|d\u00e9sol\u00e9e?) ,? .{0,20}? \b
        je\s ne\s (?:peux|suis)\s pas
      | je\s ne\s (?:peux|suis)\s pas\s (?:en\smesure\s)? (?:de\s|d['\u2019])?
        (?:vous\s)? (?:aider|fournir|r\u00e9pondre|cr\u00e9er|r\u00e9sumer)
      | (?:lo\ssiento|disculpa|perd\u00f3n) ,? .{0,20}? \b no\s (?:puedo|me\ses\sposible)
      | no\s puedo\s (?:ayudar|proporcionar|responder|crear|resumir|cumplir)
      | (?:mi\sdispiace|spiacente) ,? .{0,20}? \b non\s posso
      | non\s posso\s (?:aiutar|fornire|rispondere|creare|riassumere) )
"""
_REFUSAL = re.compile(rf"\W*(?:{_ENGLISH}|{_OTHERS})", re.IGNORECASE | re.DOTALL | re.VERBOSE)


def declines(text: str) -> bool:
    """Return whether a text begins with a refusal. An apology alone is none."""
    return _REFUSAL.match(text) is not None
