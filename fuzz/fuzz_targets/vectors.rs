#![no_main]
#![doc = "See [`hebbian_fuzz::readers::vectors`]."]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hebbian_fuzz::readers::vectors(bytes);
});
