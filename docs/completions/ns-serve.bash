# bash completion for ns-serve
_ns_serve() {
    local cur=${COMP_WORDS[COMP_CWORD]} back i operand=-1 words
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --size|--listen|--auth|--days|--announce) ((i += 1)) ;;
        --) operand=$((i + 1)); break ;;
        -*) ;;
        *) operand=$i; break ;;
        esac
    done
    for back in 1 2; do
        [ $((COMP_CWORD - back)) -gt 0 ] || break
        case $back:${COMP_WORDS[COMP_CWORD - back]} in
        1:--size) COMPREPLY=(); return ;;
        1:--listen) COMPREPLY=(); return ;;
        1:--auth) COMPREPLY=($(compgen -W 'uid tls munge none' -- "$cur")); return ;;
        1:--days) COMPREPLY=(); return ;;
        1:--announce) COMPREPLY=(); return ;;
        esac
    done
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '--ro --size --listen --stdio --auth --days --psk --announce --help --version' -- "$cur")); return
    fi
    if [ $operand -lt 0 ] || [ $operand -ge $COMP_CWORD ]; then
        COMPREPLY=($(compgen -W 'dir mem registry keygen' -- "$cur")); return
    fi
    case ${COMP_WORDS[operand]} in
    dir) COMPREPLY=($(compgen -d -- "$cur")) ;;
    keygen) COMPREPLY=() ;;
    esac
}
complete -o filenames -F _ns_serve ns-serve
