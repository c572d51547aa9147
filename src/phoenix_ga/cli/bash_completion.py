"""What bash needs beyond click's own completion script."""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

# bash splits words at colons, and endpoints contain colons. So the line is split here, and of each completion only
# the part after bash's last split is returned.
_SOURCE = """\
%(complete_func)s() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} word before completion type value
    word=${line##*[[:space:]]}
    before=${word%%"${word##*["$COMP_WORDBREAKS"]}"}
    COMPREPLY=()
    while IFS= read -r completion; do
        type=${completion%%%%,*}
        value=${completion#*,}
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            [[ $value == *[/=] ]] && compopt -o nospace
            COMPREPLY+=("${value#"$before"}")
        fi
    done < <(COMP_LINE=$line %(complete_var)s=bash_complete "$1" 2>/dev/null </dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])


def register() -> None:
    """Replace click's completion for bash."""
    add_completion_class(_Bash)
