#!/bin/sh
# fifo-client.sh PATH - talks to the service at a named pipe: what is typed goes out, what comes is printed.
me=client.$$
dir=$(dirname "$1")
mkfifo "$dir/$me.c" "$dir/$me.s"
cat "$dir/$me.s" &
echo "$me" >"$1"
cat >"$dir/$me.c"
wait
rm "$dir/$me.c" "$dir/$me.s"
