//! Runs the target `profile` of `crates/fuzzing` on any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: skin_assist_fuzzing::silence_others(),
    |bytes: &[u8]| skin_assist_fuzzing::profile(bytes)
);
