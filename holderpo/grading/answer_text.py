r"""One spelling of the many ways in which an answer is typed, in LaTeX, Unicode or plain text.

``clean`` is applied to both sides before they are compared, ``clean_gold`` once when a data set is
prepared. Neither changes a value; what is a number, a list or a unit is decided by ``quick``.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

_SUPERSCRIPT = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPT = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_SYMBOLS = {
    **dict.fromkeys("−–—‐‑‒﹣－", "-"),
    **dict.fromkeys("×✕✖", r" \times "),
    **dict.fromkeys("·⋅∙", r" \cdot "),
    **dict.fromkeys("‘’′ʹ", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("∘˚°", r"^\circ "),
    **dict.fromkeys("∅⌀", r" \emptyset "),
    **dict.fromkeys("≤⩽", r" \leq "),
    **dict.fromkeys("≥⩾", r" \geq "),
    "¢": r"\text{ cents}",
    "″": "''",
    "÷": "/",
    "⁄": "/",
    "∕": "/",
    "≠": r" \neq ",
    "±": r" \pm ",
    "∓": r" \mp ",
    "∞": r" \infty ",
    "∪": r" \cup ",
    "∩": r" \cap ",
    "∈": r" \in ",
    "≈": r" \approx ",
    "→": r" \to ",
    "≡": r" \equiv ",
    "∖": r" \setminus ",
    "∠": r"\angle ",
    "√": r"\sqrt ",
    "∛": r"\sqrt[3] ",
    "…": "...",
    **dict.fromkeys("\u212b\u00c5", r"\text{ angstrom}"),
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}",
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u2061\u200e\u200f", ""),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\u2007\u3000\t\r\n", " "),
}
_GREEK = {
    chr(code): "\\"
    + unicodedata.name(chr(code)).split()[-1].lower().replace("lamda", "lambda")
    + " "
    for code in range(0x3B1, 0x3CA)
} | {"Γ": r"\Gamma ", "Δ": r"\Delta ", "Θ": r"\Theta ", "Σ": r"\Sigma ", "Ω": r"\Omega "}
_FRACTIONS = {
    character: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", character).split("⁄"))
    for character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
_CHARACTERS = str.maketrans(_SYMBOLS | _GREEK | _FRACTIONS)

# What TeX takes for an argument without braces.
_BARE_ARGUMENT = (
    r"[0-9a-zA-Z]|\\(?!frac|binom|sqrt|text|left|right|begin|end)[a-zA-Z]+(?!\s*[{\[a-zA-Z])"
)
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Fonts and the text in them. {\rm cm} and \mathbf{\frac12} too.
        (r"\{\s*\\(?:rm|bf|it|sf|tt|cal)\s+([^{}]*)\}", r"\\text{\1}"),
        (r"\\(?:text|math)?(?:bf|it|rm|sf|tt|sc|normal)\s*\{", r"\\text{"),
        (r"\\(?:mbox|hbox|operatorname\*?|textnormal|emph|underline|textup)\s*\{", r"\\text{"),
        (r"\\(?:boldsymbol|bm|mathcal|mathscr|displaylines|ensuremath|mathop)\s*(?=\{)", ""),
        (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|rm|bf|it)(?![a-zA-Z])", ""),
        (r"\\(?:textdollar|dollar)(?![a-zA-Z])\s*", r"\\$"),
        (
            r"\\(?:AA(?![a-zA-Z])|r\s*\{A\}|mathring\s*\{\s*(?:\\text\s*\{)?A\}?\s*\})",
            r"\\text{ angstrom}",
        ),
        (r"\\text\s*\{[\s~]*(\\text\s*\{[^{}]*\})\s*\}", r"\1"),
        (r"\\(?:text)?color\s*\{[^{}]*\}", ""),
        (r"\\(?:[lL]arge|LARGE|[hH]uge|small|normalsize)(?![a-zA-Z])", ""),
        (r"\\[hv]?phantom\s*\{[^{}]*\}", ""),
        (r"\\text\s*\{\s*\}", ""),
        (r"\\text\s*(?=\{\s*(?:[-+.,\d\s%]|\\[%$])+\})", ""),
        (r"\\text\s*\{\s*([ei])\s*\}", r"\1"),
        (r"\\text\s*\{\s*(?=\\[a-zA-Z])", "{"),
        (r"\{\s*([,.:;%]|\\[%$])\s*\}", r"\1"),
        (r"([_^])\s*\{\s*\{([^{}]*)\}\s*\}", r"\1{\2}"),
        # Words and signs as indices: v_{\text{max}}, M_\odot.
        (r"_\s*\{\s*\\text\s*\{\s*(\w+)\s*\}\s*\}", r"_{\1}"),
        (r"_\s*\\(max|min|odot|oplus|perp)(?![a-zA-Z])", r"_{\1}"),
        (r"_\s*\{\s*\\(max|min|odot|oplus|perp)\s*\}", r"_{\1}"),
        # Spacing. {,} and ,\! are thousands separators; other thin spaces only look.
        (r",\s*\\!\s*", ","),
        (r"(?<=\d)\s*\\[,!;:]\s*(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;:>]", " "),
        (r"(?<!\\)\\ ", " "),
        (r"\\q?quad(?![a-zA-Z])|(?<!\\)~|\\(?:thinspace|enspace|hfill)(?![a-zA-Z])", " "),
        (r"\\(?:neg)?(?:thin|med|thick)space(?![a-zA-Z])", " "),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        (r"\\colon(?![a-zA-Z])", ":"),
        (r"\s+", " "),
        # One name for each symbol.
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])|\\degrees?(?![a-zA-Z])", r"^\\circ "),
        (r"(?<=\d)\s*\^\s*(?:\{\s*o\s*\}|o(?![a-zA-Z]))", r"^\\circ "),
        (r"\\le(?![a-zA-Z])|\\leqslant(?![a-zA-Z])|<=", r"\\leq "),
        (r"\\ge(?![a-zA-Z])|\\geqslant(?![a-zA-Z])|>=", r"\\geq "),
        (r"\\ne(?![a-zA-Z])|!=|\\not\s*=", r"\\neq "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\(?:varnothing|emptyset)(?![a-zA-Z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\lbrack(?![a-zA-Z])", "["),
        (r"\\rbrack(?![a-zA-Z])", "]"),
        (r"\\(?:mid|vert|lvert|rvert)(?![a-zA-Z])", "|"),
        (r"\\langle(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])", ")"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\(?:ast|star)(?![a-zA-Z])", r"\\cdot "),
        (r"\\(?:dots[bcimo]?|cdots)(?![a-zA-Z])|\.{3,}", r"\\ldots "),
        (r"\^\s*\{\s*(?:\\prime\s*){2}\}", "''"),
        (r"\^\s*(?:\{\s*\\prime\s*\}|\\prime(?![a-zA-Z]))", "'"),
        (r"\\(?:infin|infinity)(?![a-zA-Z])", r"\\infty "),
        (r"\\lg(?![a-zA-Z])", r"\\log_{10} "),
        (r"\\log\s*_\s*\{?e\}?(?![a-zA-Z])", r"\\ln "),
        (r"\\log\s*_\s*(\d)", r"\\log_{\1} "),
        (r"\\(?:arc(?=sin|cos|tan))(sin|cos|tan)(?![a-zA-Z])", r"\\arc\1"),
        (r"\\%", "%"),
        (r"\\&", r"\\text{ and }"),
        (r"\\[#_](?![a-zA-Z])", " "),
        (r"(\\(?!frac|sqrt|text|begin|end|binom)[a-zA-Z]+)\s*\{\s*\}", r"\1 "),
        # Arguments without braces: \frac12, \sqrt2, \sqrt[3]4, \binom52; TeX's \over, \root, \of.
        (rf"\\(frac|binom)\s*({_BARE_ARGUMENT})\s*({_BARE_ARGUMENT})", r"\\\1{\2}{\3}"),
        (rf"\\(frac|binom)\s*({_BARE_ARGUMENT})\s*\{{", r"\\\1{\2}{"),
        (rf"(\\(?:frac|binom)\s*\{{[^{{}}]*\}})\s*({_BARE_ARGUMENT})", r"\1{\2}"),
        (r"\\(d{1,3}ot|hat|bar|vec|tilde)\s+([a-zA-Z])", r"\\\1{\2}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*((?:\[[^\[\]]*\])?)\s*([0-9]+(?=\s*$|[^0-9.])|[0-9a-zA-Z])", r"\\sqrt\1{\2}"),
        (r"\\sqrt\s*(\[[^\[\]]*\])\s*\(([^()]*)\)", r"\\sqrt\1{\2}"),
        (r"\\sqrt\s*\[\s*2\s*\]", r"\\sqrt"),
        (r"\\root\s*\{?\s*(\w+)\s*\}?\s*\\of\s*(?:\{([^{}]*)\}|(\w))", r"\\sqrt[\1]{\2\3}"),
        (r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        # Units above each other, and ordinal numbers.
        (
            r"\\frac\s*\{\s*\\text\s*\{([^{}]*)\}\s*\}\s*\{\s*\\text\s*\{([^{}]*)\}\s*\}",
            r"\\text{\1/\2}",
        ),
        (r"(?<=\d)\s*\^?\s*\{?\s*\\text\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?", ""),
        (r"(?<=\d)\s*\^\s*\{\s*(?:st|nd|rd|th)\s*\}", ""),
        (r"(?<=\d)(?:st|nd|rd|th)(?![a-zA-Z])", ""),
        # A letter before a half-open interval, which is no argument of a function.
        (r"^\s*([a-z])\s*(?=\([^()\[\]]*\][\s.]*$|\[[^()\[\]]*\)[\s.]*$)", r"\1 \\in "),
        # Plain text.
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (
            r"(?<![\\a-zA-Z{])(arc)?(sin|cos|tan|ln|log|exp)(?=\s*[\d(\\_^]|\s+[a-zA-Z](?![a-zA-Z]))",
            r"\\\1\2 ",
        ),
        (r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
        (r"(?:\\text\s*\{\s*)?(?:negative|minus)\s*\}?\s*infinity\s*\}?", r"-\\infty "),
        (r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"\*\*(?=\s*[\d({])", "^"),
        (r"(?<!\\)\*", r"\\cdot "),
        (r"(?<=\d)\s*(?:\\text\s*\{\s*to\s*\}|(?<=\s)to(?=\s))\s*(?=\d)", ":"),
        # 2/3 \pi is two thirds of it.
        (r"(?<![\w}.^])(\d+)\s*/\s*(\d+)\s*(?=\\(?:pi|sqrt))", r"\\frac{\1}{\2}"),
        (r"\s+", " "),
    )
]
_MATH_MARKS = re.compile(r"(?<!\\)\$+|(?<!\\)\\[()\[\]]|^\s*\*+|\*+\s*$|`")
_INNER_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_LEAD_IN = re.compile(
    r"^\s*(\\text\s*\{)?\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+)?"
    r"answer\s*(?:is|:|=)\s*:?\s*(\})?",
    re.IGNORECASE,
)


# A gold is compared with every answer of its group.
@functools.lru_cache(maxsize=1024)
def clean(text: str) -> str:
    r"""One spelling of an answer.

    Unicode becomes LaTeX, synonymous commands become one, spacing commands and math delimiters go,
    and so do a trailing full stop or comma. Letters keep their case.

    Args:
        text: an answer or a gold answer.

    Returns:
        The cleaned text; its length is bounded by a small multiple of the input's.
    """
    text = re.sub(r"\s+", " ", text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: _raised("^", _mapped(m[0], _SUPERSCRIPT)), text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda m: _raised("_", _mapped(m[0], _SUBSCRIPT)), text)
    # A mixed number keeps its parts apart: 1½ is 1 1/2.
    text = re.sub(r"(\d)([½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])", r"\1 \2", text)
    text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS))
    text = _LEAD_IN.sub(_rest_of_text, _MATH_MARKS.sub(" ", _INNER_BOX.sub("", text)))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    above, over, below = text.partition("\\over ")
    if over and above.count("{") == above.count("}"):
        text = f"\\frac{{{above.strip()}}}{{{below.strip()}}}"
    return _without_trailing(_without_outer_braces(_without_trailing(text.strip())))


def _rest_of_text(lead_in: re.Match[str]) -> str:
    r"""``\text{The answer is 5}`` leaves ``\text{5}``."""
    return "\\text{" if lead_in[1] and not lead_in[2] else ""


def _raised(mark: str, text: str) -> str:
    return f"{mark}{text}" if len(text) == 1 else f"{mark}{{{text}}}"


def _mapped(characters: str, table: dict[str, str]) -> str:
    return "".join(table[character] for character in characters)


def _without_trailing(text: str) -> str:
    r"""Without a full stop, a comma or the like, blanks and ``\\`` at its end."""
    before = None
    while text != before:
        before = text
        text = text.rstrip().rstrip(".,;:").removesuffix("\\\\")
    return text


def _without_outer_braces(text: str) -> str:
    r"""``{5}`` and ``\text{...}``-free groups around the whole lose their braces."""
    while text.startswith("{") and text.endswith("}"):
        depth = 0
        for position, character in enumerate(text):
            depth += (character == "{") - (character == "}")
            if depth == 0 and position < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text


def clean_gold(value: Any) -> list[str]:
    r"""The gold answers of one problem as a list of texts, as a data set publishes them.

    Args:
        value: a text, a number (142.0 becomes ``142``), or a list of them, any of which is right.

    Returns:
        The answers without dollar signs (``\$`` stays), line breaks and blanks around them; empty
        ones are left out, so the list is empty where there is no gold answer.

    Raises:
        TypeError: for anything else, naming the type.
    """
    if isinstance(value, str):
        text = re.sub(r"(?<!\\)\$+", "", value.replace("\n", " ")).strip()
        return [text] if text else []
    if isinstance(value, bool) or value is None:
        raise TypeError(f"answer: {value!r}; give a text, a number, or a list of them")
    if isinstance(value, int | float):
        return [str(int(value)) if float(value).is_integer() else repr(value)]
    if isinstance(value, Iterable) and not isinstance(value, bytes | dict):
        return [text for element in value for text in clean_gold(element)]
    raise TypeError(f"answer: {type(value).__name__}; give a text, a number, or a list of them")
