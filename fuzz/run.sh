#!/bin/bash
# Runs fuzz targets side by side for a while, each from its committed inputs, and counts what came of it.
#
#   run.sh SECONDS OUT [TARGET]...
#
# Beside this file lie bin/ (the programs, by `cargo xtask fuzz`), corpus/ and dictionaries/. As many run at a time as there are
# processors. OUT/results.tsv has a line for each target; OUT/TARGET has the log, the inputs that were found and, in crashes/,
# those that are findings. Exits with 1 where there is one.
set -u
here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:?say: run.sh SECONDS OUT [TARGET]...}
mkdir -p "${2:?say: run.sh SECONDS OUT [TARGET]...}"
out=$(cd "$2" && pwd)
shift 2
if [ $# -eq 0 ]; then
    set -- $(ls "$here/bin")
fi

# More than this is a finding: of memory, and of time for one input.
most_megabytes=2048
most_seconds=10

one() {
    target=$1
    folder=$out/$target
    mkdir -p "$folder/corpus" "$folder/crashes"
    : > "$folder/log"
    options=()
    if [ -f "$here/dictionaries/$target.dict" ]; then
        options+=("-dict=$here/dictionaries/$target.dict")
    fi
    begin=$(date +%s)
    end=$((begin + seconds))
    findings=0
    # libFuzzer ends at a finding: then it begins again, a few times, with what it has found so far.
    while left=$((end - $(date +%s))); [ "$left" -gt 0 ] && [ "$findings" -lt 5 ]; do
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 "$here/bin/$target" "$folder/corpus" "$here/corpus/$target" \
            -artifact_prefix="$folder/crashes/" -max_total_time="$left" -max_len=65536 -timeout="$most_seconds" \
            -rss_limit_mb="$most_megabytes" -detect_leaks=0 -print_final_stats=1 ${options[@]+"${options[@]}"} \
            >> "$folder/log" 2>&1 && break
        findings=$((findings + 1))
    done
    # Without a run's own sum (it was killed) its last line counts.
    executions=$(awk '/^stat::number_of_executed_units:/ { sum += $2 } END { print sum + 0 }' "$folder/log")
    if [ "$executions" -eq 0 ]; then
        executions=$(grep -o '^#[0-9]*' "$folder/log" | tail -1 | tr -d '#')
    fi
    megabytes=$(awk '/^stat::peak_rss_mb:/ && $2 > most { most = $2 } END { print most + 0 }' "$folder/log")
    coverage=$(grep -o ' cov: [0-9]*' "$folder/log" | tail -1 | grep -o '[0-9]*')
    features=$(grep -o ' ft: [0-9]*' "$folder/log" | tail -1 | grep -o '[0-9]*')
    inputs=$(grep -o ' corp: [0-9]*' "$folder/log" | tail -1 | grep -o '[0-9]*')
    crashes=$(find "$folder/crashes" -type f | wc -l)
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$target" "$(($(date +%s) - begin))" "${executions:-0}" \
        "${coverage:-0}" "${features:-0}" "${inputs:-0}" "$megabytes" "$crashes" "$findings" > "$folder/result.tsv"
}
export -f one
export here out seconds most_megabytes most_seconds

printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'one "$@"' one {}

processor=$(grep -m1 '^model name' /proc/cpuinfo | cut -d: -f2-)
commit=$(cat "$here/commit" 2> /dev/null || echo unknown)
{
    printf '# %s; %s processors,%s; commit %s\n' "$(date -u +%Y-%m-%d)" "$(nproc)" "$processor" "$commit"
    printf 'target\tseconds\texecutions\tcoverage\tfeatures\tinputs\tpeak_megabytes\tcrashes\tended_early\n'
    for target in "$@"; do
        cat "$out/$target/result.tsv"
    done
} > "$out/results.tsv"
cat "$out/results.tsv"
! awk -F'\t' '!/^#/ && $1 != "target" && ($8 + $9) > 0 { found = 1 } END { exit !found }' "$out/results.tsv"
