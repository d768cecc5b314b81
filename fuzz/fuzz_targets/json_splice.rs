#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keeptrusts::fuzz::run("json_splice", bytes));
