//! Runs the target `sign_in` of `crates/fuzzing` on any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: skin_assist_fuzzing::silence_others(),
    |bytes: &[u8]| skin_assist_fuzzing::sign_in(bytes)
);
