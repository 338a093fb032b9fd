//! A process's share of what several work on.

use std::ops::Range;
use std::str::FromStr;

/// The share of one of several processes, written `2/3` for the second of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    index: usize,
    of: usize,
}

impl Share {
    /// Everything: the only process.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// That of process `index`, from 0, of `of`; none where there is no such process.
    pub fn new(index: usize, of: usize) -> Option<Self> {
        (index < of).then_some(Self { index, of })
    }

    /// Which process it is of, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many processes there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Its part of `len` things that lie in a row. The parts of all processes
    /// follow each other and differ in length by one at most.
    #[must_use]
    pub fn rows(self, len: usize) -> Range<usize> {
        let bound = |share: usize| (len as u128 * share as u128 / self.of as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }
}

impl FromStr for Share {
    type Err = String;

    /// `i/n`, from `1/n` to `n/n`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((i, of)) if (1..=of).contains(&i) => Ok(Self { index: i - 1, of }),
            _ => Err(format!("'{text}' is no shard; the second of three is 2/3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other_and_what_is_none_is_refused() {
        for text in ["", "1", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!("2/3".parse(), Ok(Share { index: 1, of: 3 }));
        assert_eq!((Share::new(1, 3), Share::new(3, 3)), ("2/3".parse().ok(), None));
        let rows = ["1/3", "2/3", "3/3"].map(|text| text.parse::<Share>().unwrap().rows(10));
        assert_eq!(rows, [0..3, 3..6, 6..10]);
        assert_eq!(Share::ALL.rows(7), 0..7);
    }
}
