
# --- The way of the stream: TCP from QEMU to QEMU

way_in="tcp:$DESTINATION:$PORT" # for migrate-incoming
way_out=$way_in                 # for migrate
open_way() { :; }               # SIDE: what is between the two
deliver() { :; }                # once the source has completed

kill_proxy() { give_up "this way has no proxy"; }
