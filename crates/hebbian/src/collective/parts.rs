//! A batch in parts, whose sums are added in one order wherever they are computed.

use std::ops::Range;
use std::sync::LazyLock;

use hebbian_data::Share;

use super::Group;
use crate::Result;

/// Adds up, each with its neighbour and those sums likewise: the order in which
/// so many processes, a power of 2 that divides the number, would do it.
pub(super) fn add_in_pairs<T>(
    values: impl Iterator<Item = T>,
    add: impl Fn(&mut T, T),
) -> Option<T> {
    let mut sums: Vec<T> = Vec::new();
    let join = |sums: &mut Vec<T>, right: T| match sums.pop() {
        Some(mut left) => {
            add(&mut left, right);
            left
        }
        None => right,
    };
    for (before, mut sum) in values.enumerate() {
        for _ in 0..(before + 1).trailing_zeros() {
            sum = join(&mut sums, sum);
        }
        sums.push(sum);
    }
    let mut sum = sums.pop()?;
    while !sums.is_empty() {
        sum = join(&mut sums, sum);
    }
    Some(sum)
}

impl Group {
    /// The sum of what the parts of this process give, each from its share of
    /// what all work on.
    pub(crate) fn add<T: Default>(
        &self,
        mut of_share: impl FnMut(Share) -> Result<T>,
        add: impl Fn(&mut T, T),
    ) -> Result<T> {
        let (first, of) = (self.rank() * self.parts, self.size() * self.parts);
        let mut failed = None;
        let given = (first..first + self.parts).filter_map(|part| Share::new(part, of)).map_while(
            |share| match of_share(share) {
                Ok(given) => Some(given),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            },
        );
        let sum = add_in_pairs(given, add).unwrap_or_default();
        failed.map_or(Ok(sum), Err)
    }
}

/// The images of a batch that a process has, and who has the others.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The processes that share the batch.
    pub group: &'a Group,
    /// How many of its images this process has.
    pub images: usize,
}

impl Parts<'static> {
    /// A batch by itself, of which nobody asks for images.
    pub fn whole() -> Self {
        static ALONE: LazyLock<Group> = LazyLock::new(Group::default);
        Self { group: &ALONE, images: 1 }
    }
}

impl Parts<'_> {
    /// Images of each part.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        let of = self.group.parts;
        (0..of).filter_map(move |i| Some(Share::new(i, of)?.rows(self.images)))
    }

    /// What `data`, as many numbers for every image, has of some.
    pub fn of<'d, T>(self, data: &'d [T], images: &Range<usize>) -> &'d [T] {
        let each = data.len().checked_div(self.images).unwrap_or(0);
        &data[images.start * each..images.end * each]
    }

    /// [`Parts::of`], to be changed.
    pub fn of_mut<'d, T>(self, data: &'d mut [T], images: &Range<usize>) -> &'d mut [T] {
        let each = data.len().checked_div(self.images).unwrap_or(0);
        &mut data[images.start * each..images.end * each]
    }

    /// The sum of what the parts of this process give.
    pub(crate) fn add<T: Default>(
        self,
        of_part: impl FnMut(Range<usize>) -> T,
        add: impl Fn(&mut T, T),
    ) -> T {
        add_in_pairs(self.ranges().map(of_part), add).unwrap_or_default()
    }

    /// What `of_part` makes of each part of `data`, one after the other.
    pub(crate) fn concat<T>(self, data: &[T], of_part: impl Fn(&[T]) -> Vec<f32>) -> Vec<f32> {
        if self.group.parts == 1 {
            return of_part(data);
        }
        self.ranges().flat_map(|images| of_part(self.of(data, &images))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_added_in_pairs() {
        let order = |n: usize| {
            let values = (0..n).map(|i| i.to_string());
            add_in_pairs(values, |left, right| *left = format!("({left}+{right})"))
        };
        assert_eq!(order(0), None);
        assert_eq!(order(1).as_deref(), Some("0"));
        assert_eq!(order(4).as_deref(), Some("((0+1)+(2+3))"));
        assert_eq!(order(7).as_deref(), Some("(((0+1)+(2+3))+((4+5)+6))"));
    }
}
