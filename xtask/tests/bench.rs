//! The arithmetic of the benchmark's report.

// What the benchmark uses of these files and this test does not.
#![allow(dead_code)]

#[path = "../benches/hebbian/report/table.rs"]
mod table;
#[path = "../benches/hebbian/timing.rs"]
mod timing;

use table::Table;
use timing::Timing;

#[test]
fn the_median_lies_between_the_middle_two() {
    let timing = |runs: &[f64]| Timing { runs: runs.to_vec(), peak_mib: None, before_mib: None };
    assert_eq!(timing(&[3.0, 1.0, 2.0, 9.0]).summary(), [1.0, 2.5, 9.0]);
    assert_eq!(timing(&[5.0, 1.0, 2.0]).summary(), [1.0, 2.0, 5.0]);
}

#[test]
fn a_row_knows_its_own_peak_of_memory() {
    let runs = |bytes: usize| {
        Timing::of(5, || {
            let block = vec![1u8; bytes];
            if std::hint::black_box(&block).len() == bytes { Ok(()) } else { Err(()) }
        })
    };
    let Some(large) = runs(256 << 20).unwrap().peak_mib.filter(|_| timing::reset_peak()) else {
        println!("skipped: this system has no mark of most memory that can be reset");
        return;
    };
    let small = runs(1 << 20).unwrap();
    assert_eq!(small.runs.len(), 5);
    assert!(small.peak_mib.is_some_and(|peak| peak + 128.0 < large), "{small:?} {large}");
}

#[test]
fn a_table_is_even_with_its_numbers_to_the_right() {
    let mut table = Table::new(1, &["what", "ms"]);
    table.push(["forward".to_owned(), table::ms(0.0123)]);
    table.push(["step".to_owned(), table::ms(1.5)]);
    let want = "\
| what    |     ms |
| ------- | -----: |
| forward |   12.3 |
| step    | 1500.0 |
";
    assert_eq!(table.to_markdown(), want);
}
