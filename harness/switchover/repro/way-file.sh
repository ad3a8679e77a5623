
# --- The way of the stream: a file, from which the destination is restored

way_in=''                      # nothing to be restored yet
way_out="file:$WORK/source/saved" # for migrate
open_way() { :; }              # SIDE: what is between the two

deliver() { # once the source has completed: on this host, the destination reads the same file
    side=destination
    open_monitor
    status=''
    ask "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"$way_out\"}}" || conclude failed
    limit=$((limit + DEADLINE))
    until [ "$status" = completed ]; do
        [ "$status" != failed ] || conclude failed
        next_line || conclude failed
    done
    close_monitor
}

kill_proxy() { give_up "this way has no proxy"; }
