# bash completion for ns
_ns() {
    local cur=${COMP_WORDS[COMP_CWORD]} back i operand=-1 words
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --pid|--family|--job|--user) ((i += 1)) ;;
        --) operand=$((i + 1)); break ;;
        -*) ;;
        *) operand=$i; break ;;
        esac
    done
    for back in 1 2; do
        [ $((COMP_CWORD - back)) -gt 0 ] || break
        case $back:${COMP_WORDS[COMP_CWORD - back]} in
        1:--pid) COMPREPLY=(); return ;;
        1:--family) COMPREPLY=($(compgen -W "$(ns families --names 2>/dev/null)" -- "$cur")); return ;;
        1:--job) COMPREPLY=(); return ;;
        1:--user) COMPREPLY=(); return ;;
        esac
    done
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '--pid --family --job --user --json --self-test --help --version' -- "$cur")); return
    fi
    if [ $operand -lt 0 ] || [ $operand -ge $COMP_CWORD ]; then
        COMPREPLY=($(compgen -W 'bind mount unmount private poly dir symlink clear . why families ps stat instances reap doctor' -- "$cur")); return
    fi
    case ${COMP_WORDS[operand]} in
    bind) COMPREPLY=($(compgen -f -- "$cur")) ;;
    mount) COMPREPLY=() ;;
    unmount) COMPREPLY=($(compgen -f -- "$cur")) ;;
    private) COMPREPLY=($(compgen -d -- "$cur")) ;;
    poly) COMPREPLY=($(compgen -f -- "$cur")) ;;
    dir) COMPREPLY=($(compgen -f -- "$cur")) ;;
    symlink) COMPREPLY=($(compgen -f -- "$cur")) ;;
    .) COMPREPLY=($(compgen -f -- "$cur")) ;;
    why) COMPREPLY=($(compgen -f -- "$cur")) ;;
    doctor) COMPREPLY=($(compgen -c -- "$cur")) ;;
    esac
}
complete -o filenames -F _ns ns
