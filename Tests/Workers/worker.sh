#!/bin/sh
# A worker in POSIX shell, to show how little one takes: `count` counts, with progress. In spindle.toml:
#   [workers.shell]
#   command = ["sh", "/path/to/worker.sh"]
tell() { printf '%s\n' "$1" >&3; }
answer() { tell "{\"jsonrpc\":\"2.0\",\"id\":$id,$1}"; }

# The first value of a member, without its quotes; enough for numbers and names.
field() {
    case $line in *"\"$1\":"*)
        rest=${line#*"\"$1\":"}
        rest=${rest#\"}
        printf %s "${rest%%[\",\}]*}" ;;
    esac
}

count() {
    to=$(field to) done=0
    while [ "$done" -lt "$to" ]; do
        done=$((done + 1))
        tell "{\"jsonrpc\":\"2.0\",\"method\":\"progress\",\"params\":{\"id\":$id,\"done\":$done,\"total\":$to}}"
    done
    answer "\"result\":{\"value\":{\"counted\":$to}}"
}

while IFS= read -r line <&3; do
    id=$(field id) task=$(field task)
    case $(field method) in
    initialize)
        schema='{"type":"object","required":["to"],"properties":{"to":{"type":"integer","minimum":0,"maximum":1000}}}'
        answer '"result":{"protocol":1,"worker":{"sdk":"none","language":"sh"},"concurrency":1,"tasks":[{"name":"count","input":'"$schema"'}]}' ;;
    run) if [ "$task" = count ]; then count; else answer '"error":{"code":-32000,"message":"no such task"}'; fi ;;
    ping) answer '"result":{}' ;;
    drain) exit 0 ;;
    cancel) ;; # what counts has counted before it could be read
    *) [ -z "$id" ] || answer '"error":{"code":-32601,"message":"unknown method"}' ;;
    esac
done
