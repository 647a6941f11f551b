# The service as its unit has it, in a mount namespace of its own: PROGRAM, UNIT and an empty FOLDER are given.
set -e
# What was started does not outlive this.
trap 'kill $running $ehr 2>/dev/null || true' EXIT
fail() { echo "$1"; cat "$FOLDER/run.log" 2>/dev/null; exit 1; }
# Tries again for up to a minute.
until_true() { for _ in $(seq 120); do if "$@"; then return; fi; sleep 0.5; done; fail "not within a minute: $*"; }

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$FOLDER"
cd "$FOLDER"
cp "$PROGRAM" skin-assist && chmod 755 skin-assist

# An EHR, and what its operator is given for it.
./skin-assist practice-ehr --connect etc --firms 1 --visits 6 --minutes 12 --speed 12 --report report.json > steps.txt &
ehr=$!
until_true test -s report.json
mkdir secrets && mv etc/state.key etc/api.key etc/*.secret secrets && chmod 700 secrets

# The unit's folders, its credentials, and the configuration that its comments say.
install -d -o 65534 -g 65534 -m 0700 skin-assist-state skin-assist-keys
mkdir credentials && mount -t tmpfs -o mode=0500,uid=65534 tmpfs credentials
install -o 65534 -m 0400 secrets/state.key secrets/api.key credentials
mount -o remount,ro credentials
sed -n 's/^#   \[state\] \(.*\)/\1/p' "$UNIT" | sed \
    -e "s|/var/lib/skin-assist/|$FOLDER/skin-assist-state/|" \
    -e "s|/var/lib/skin-assist-keys/|$FOLDER/skin-assist-keys/|" \
    -e "s|/run/credentials/skin-assist.service/|$FOLDER/credentials/|" > state.toml
[ "$(wc -l < state.toml)" = 3 ] || fail "the unit's comments name other keys: $(cat state.toml)"
sed -i -e '/^key_file/d' -e '/^\[state\]/r state.toml' \
    -e "s|^api_key_file.*|api_key_file = \"$FOLDER/credentials/api.key\"|" etc/skin-assist.toml
printf '[console]\nlisten = "127.0.0.1:0"\n[assessments]\nwidespread_window_seconds = 1\n' >> etc/skin-assist.toml
: > run.log && chown 65534 run.log

mount -o remount,ro,bind /
if touch /etc/skin-assist-was-here 2>/dev/null; then fail "the file system can be written"; fi
setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
    ./skin-assist --config etc/skin-assist.toml run 2> run.log &
running=$!
until_true test -s skin-assist-state/skin-assist.sqlite

# An operator, as root, connects the practice while it runs.
export SKIN_ASSIST_CONFIG="$FOLDER/etc/skin-assist.toml" SKIN_ASSIST_STATE__KEY_FILE="$FOLDER/secrets/state.key"
grep -E '^  skin-assist (firm|categories)' steps.txt | sed -e 's|^  |./|' -e "s|[^ ]*/\([^ /]*\.secret\)|$FOLDER/secrets/\1|" > connect.sh
firm=$(sed -n 's/.*firm add \([^ ]*\).*/\1/p' connect.sh)
echo "for this check" > use.txt
echo "./skin-assist firm mode $firm draft --intended-use use.txt --recorded-by 'This Check'" >> connect.sh
sh -e connect.sh > connect.log || fail "the practice cannot be connected: $(cat connect.log)"

looks=0
finished() {
    kill -0 $running 2>/dev/null || fail "the service has ended"
    if grep -qE '^[^ ]+ .wx' /proc/$running/maps; then fail "memory is both written and run"; fi
    looks=$((looks + 1))
    grep -q '"is_over":true' report.json && ./skin-assist status --json > status.json &&
        grep -qE '"delivered": *[1-9]' status.json && grep -qE '"waiting_delivery": *0' status.json &&
        grep -qE '"waiting_download": *0' status.json && grep -qE '"waiting_inference": *0' status.json
}
until_true finished
until_true finished
strangers=$(find skin-assist-state skin-assist-keys ! -uid 65534)
[ -z "$strangers" ] || fail "what the operator made does not belong to the service: $strangers"
[ $looks -ge 4 ] || fail "it was looked at $looks times only"
grep -q '"dead_letters": \[\]' status.json || fail "something was given up: $(cat status.json)"
echo "$(grep -oE '"delivered": *[0-9]+' status.json | head -1) in the practice $firm"
kill -TERM $running && wait $running
kill -TERM $ehr && wait $ehr || true
