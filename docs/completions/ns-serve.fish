# fish completion for ns-serve
complete -c ns-serve -n __fish_use_subcommand -l ro -d 'Nothing can be changed, EROFS'
complete -c ns-serve -n __fish_use_subcommand -l size -x -d 'Bytes that the tree may take, with K, M, G or T if need be'
complete -c ns-serve -n __fish_use_subcommand -l listen -x -d 'tcp!HOST[!PORT], port 564 when left out and 0 for any free one, or unix!PATH'
complete -c ns-serve -n __fish_use_subcommand -l stdio -d 'One connection, on standard input and output'
complete -c ns-serve -n __fish_use_subcommand -l auth -x -a 'uid none' -d 'How it is known who connects; uid when left out'
complete -c ns-serve -n __fish_use_subcommand -f -a dir -d 'A directory of this host'
complete -c ns-serve -n __fish_use_subcommand -f -a mem -d 'A tree in memory, empty at first'
