
# --- The way of the stream: a unix socket on each host, and socat between them

way_in="unix:$WORK/destination/stream" # for migrate-incoming
way_out="unix:$WORK/source/stream"     # for migrate

open_way() { # SIDE: the proxy on its host
    case $1 in
    destination) start_proxy destination "TCP-LISTEN:$PORT,bind=$DESTINATION,fork,reuseaddr" "UNIX-CONNECT:${way_in#unix:}" ;;
    source)
        start_proxy source "UNIX-LISTEN:${way_out#unix:},fork" "TCP:$DESTINATION:$PORT"
        until [ -S "${way_out#unix:}" ]; do sleep 0.1; done
        ;;
    esac
}

start_proxy() { # SIDE and the two addresses of socat
    proxied=$WORK/$1/proxy
    # a session of its own: each connection has a process
    setsid sh -c 'echo "$$" >"$0"; exec socat "$@"' "$proxied" "$2" "$3" >/dev/null 2>&1 &
    until [ -s "$proxied" ]; do sleep 0.1; done
}

deliver() { :; } # once the source has completed

kill_proxy() {
    say "$seconds s: kill the source's proxy"
    kill -KILL "-$(cat "$WORK/source/proxy")"
}
