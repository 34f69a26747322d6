# fish completion for ns-slurm-prolog
complete -c ns-slurm-prolog -n __fish_use_subcommand -l namespace -s n -r -F -d 'The job\'s namespace file'
complete -c ns-slurm-prolog -x -a '(__fish_complete_subcommand)'
