#!/bin/sh
# Instructions of a translation on the host, by driver and kind: of two runs under callgrind the difference, so that what
# set-up costs cancels out. Needs valgrind. Arguments: kinds to measure; all without.
set -eu
cd "$(dirname "$0")/.."
program=$(cargo bench --package benches --bench instructions --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
few=1000
many=3000

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1 | sed -n 's/.*Collected : //p'
}

for driver in functional timed; do
    for kind in ${*:-hit hit16 main walk1 walk2 nested}; do
        less=$(count "$driver" "$kind" "$few")
        more=$(count "$driver" "$kind" "$many")
        echo "$driver $kind: $(((more - less) / (many - few))) instructions"
    done
done
