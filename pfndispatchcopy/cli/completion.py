"""Completion for bash, zsh and fish, made from the table of arguments.

python -m pfndispatchcopy.cli.completion bash
"""

import sys
from collections.abc import Callable, Mapping

from pfndispatchcopy.cli.table import Manual, Option, read_manual

__all__ = ["SHELLS", "completion"]

_MADE = "Made from the table of arguments by `make manual`."

_BASH = """\
# Completion of {program} for bash. {made}
# Where nothing is offered, bash completes paths by itself. It makes a word of its own of each "=".
_{program}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} option=${{COMP_WORDS[COMP_CWORD - 1]}} words='' before='' each
    COMPREPLY=()
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $each == -- ]] && return
    done
    if [[ $word == = ]]; then
        word=''
    elif [[ $option == = ]]; then
        option=${{COMP_WORDS[COMP_CWORD - 2]}}
    elif [[ $word == --*=* ]]; then
        option=${{word%%=*}} before=${{word%%=*}}= word=${{word#*=}}
    fi
    case $option in
{cases}
        *)
            [[ $word == -* ]] && words='{options}'
            ;;
    esac
    while IFS='' read -r each; do
        COMPREPLY+=("$each")
    done < <(compgen -P "$before" -W "$words" -- "$word")
}}
complete -o default -o bashdefault -F _{program} {program}
"""


def _bash(manual: Manual) -> str:
    cases = []
    for option in manual.options:
        if not option.value:
            continue
        if option.is_path:
            action = ["return"]
        elif option.is_list:
            action = ["[[ $word == *,* ]] && before=$before${word%,*}, word=${word##*,}", f"words='{_words(option)}'"]
        elif option.words:
            action = [f"words='{_words(option)}'"]
        else:
            action = ["compopt +o default +o bashdefault 2>/dev/null", "return"]
        lines = [f"        {' | '.join(option.names)})", *(f"            {line}" for line in [*action, ";;"])]
        cases.append("\n".join(lines))
    options = " ".join(name for option in manual.options for name in option.names)
    return _BASH.format(program=manual.program, made=_MADE, cases="\n".join(cases), options=options)


def _words(option: Option) -> str:
    return " ".join(option.words)


_ZSH = """\
#compdef {program}
# Completion of {program} for zsh. {made}
_arguments -S \\
{specs}
    '*:source or destination:_files'
"""


def _zsh(manual: Manual) -> str:
    specs = []
    for option in manual.options:
        value = ""
        if option.is_path:
            value = f":{option.value}:_files"
        elif option.is_list:
            value = f":{option.value}:_sequence compadd - {_words(option)}"
        elif option.words:
            value = f":value:({_words(option)})"
        elif option.value:
            value = f":{option.value}: "
        if option.is_ending:
            front = "(- *)"
        elif option.is_repeatable:
            front = "*"
        else:
            front = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
        for name in option.names:
            # The value may follow a short option at once, and a long one after a "=".
            joint = "" if not value else "=" if name.startswith("--") else "+" if len(name) == 2 else ""
            specs.append(f"    {_quoted(f'{front}{name}{joint}[{_bracketed(option.short_text)}]{value}')} \\")
    return _ZSH.format(program=manual.program, made=_MADE, specs="\n".join(specs))


def _bracketed(text: str) -> str:
    for character in "\\[]":
        text = text.replace(character, f"\\{character}")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(manual: Manual) -> str:
    lines = [f"# Completion of {manual.program} for fish. {_MADE}"]
    for option in manual.options:
        words = [f"complete -c {manual.program}"]
        for name in option.names:
            kind = "-l" if name.startswith("--") else "-s" if len(name) == 2 else "-o"
            words.append(f"{kind} {name.lstrip('-')}")
        if option.is_path:
            words.append("-r -F")
        elif option.is_list:
            words.append(f"-x -a \"(__fish_complete_list , 'printf %s\\\\n {_words(option)}')\"")
        elif option.words:
            words.append(f"-x -a '{_words(option)}'")
        elif option.value:
            words.append("-x")
        text = option.short_text.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(" ".join([*words, f"-d '{text}'"]))
    return "\n".join(lines) + "\n"


SHELLS: Mapping[str, Callable[[Manual], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def completion(shell: str) -> str:
    """Return the completion for one of :data:`SHELLS`."""
    return SHELLS[shell](read_manual())


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SHELLS:
        sys.exit(f"usage: python -m pfndispatchcopy.cli.completion {'|'.join(SHELLS)}")
    sys.stdout.write(completion(sys.argv[1]))
