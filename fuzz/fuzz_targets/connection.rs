#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aiomsg_tests::fuzzing::fuzz("connection", data));
