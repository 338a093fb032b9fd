#![no_main]
#![doc = "See [`hebbian_fuzz::readers::parquet`]."]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hebbian_fuzz::readers::parquet(bytes);
});
