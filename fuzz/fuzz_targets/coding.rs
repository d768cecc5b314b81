#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keeptrusts::fuzz::run("coding", bytes));
