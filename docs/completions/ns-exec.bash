# bash completion for ns-exec
_ns_exec() {
    local cur=${COMP_WORDS[COMP_CWORD]} back i operand=-1 words
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --tmpfs|--private|--poly|--dir|--unmount|--chdir|--namespace|-n|--line|-e|--family|--join|--join-or-create|--restore|--names|--unsetenv|--instance-fd|--on) ((i += 1)) ;;
        --bind|--bind-before|--bind-after|--ro-bind|--mount|--mount-before|--mount-after|--symlink|--setenv) ((i += 2)) ;;
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
        1:--bind) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        2:--bind) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--bind-before) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        2:--bind-before) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--bind-after) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        2:--bind-after) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--ro-bind) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        2:--ro-bind) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--mount) COMPREPLY=(); return ;;
        2:--mount) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--mount-before) COMPREPLY=(); return ;;
        2:--mount-before) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--mount-after) COMPREPLY=(); return ;;
        2:--mount-after) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--tmpfs) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--private) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        1:--poly) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--dir) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--symlink) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        2:--symlink) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--unmount) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--chdir) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        1:--namespace|1:-n) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--line|1:-e) COMPREPLY=(); return ;;
        1:--family) COMPREPLY=($(compgen -W "$(ns families --names 2>/dev/null)" -- "$cur")); return ;;
        1:--join) COMPREPLY=($(compgen -W "$(ns families --names 2>/dev/null)" -- "$cur")); return ;;
        1:--join-or-create) COMPREPLY=($(compgen -W "$(ns families --names 2>/dev/null)" -- "$cur")); return ;;
        1:--restore) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        1:--names) COMPREPLY=($(compgen -W 'exact' -- "$cur")); return ;;
        1:--setenv) COMPREPLY=(); return ;;
        2:--setenv) COMPREPLY=(); return ;;
        1:--unsetenv) COMPREPLY=(); return ;;
        1:--instance-fd) COMPREPLY=(); return ;;
        1:--on) COMPREPLY=(); return ;;
        esac
    done
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '--bind --bind-before --bind-after --ro-bind --mount --mount-before --mount-after --tmpfs --private --poly --dir --symlink --unmount --clear --chdir --namespace --line --family --join --join-or-create --strict --enforce --dump --restore --skip-missing --trace --names --setenv --unsetenv --clearenv --instance-fd --on --export --help --version' -- "$cur")); return
    fi
    COMPREPLY=($(compgen -c -- "$cur"))
}
complete -o filenames -F _ns_exec ns-exec
