//! hebb
fn main() {}
