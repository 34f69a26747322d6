# bash completion for ns-slurm-prolog
_ns_slurm_prolog() {
    local cur=${COMP_WORDS[COMP_CWORD]} back i operand=-1 words
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --namespace|-n) ((i += 1)) ;;
        --) operand=$((i + 1)); break ;;
        -*) ;;
        *) operand=$i; break ;;
        esac
    done
    if [ $operand -ge 0 ] && [ $operand -lt $COMP_CWORD ]; then
        if declare -F _command_offset >/dev/null; then _command_offset $operand; return; fi
        COMPREPLY=($(compgen -f -- "$cur")); return
    fi
    for back in 1 2; do
        [ $((COMP_CWORD - back)) -gt 0 ] || break
        case $back:${COMP_WORDS[COMP_CWORD - back]} in
        1:--namespace|1:-n) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        esac
    done
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '--namespace --help --version' -- "$cur")); return
    fi
    COMPREPLY=($(compgen -c -- "$cur"))
}
complete -o filenames -F _ns_slurm_prolog ns-slurm-prolog
