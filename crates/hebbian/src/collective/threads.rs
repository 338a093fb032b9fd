//! Threads of one process in the place of processes: the same training
//! without MPI.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Collective;

/// What one member gives.
type Given = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct Round {
    /// By rank, what those who have arrived give.
    given: Vec<Option<Given>>,
    /// Of how many what was given has been taken.
    taken: usize,
    /// Whether a member has gone.
    lost: bool,
}

impl Round {
    fn is_full(&self) -> bool {
        self.given.iter().all(Option::is_some)
    }
}

struct Table {
    round: Mutex<Round>,
    changed: Condvar,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`.
    ///
    /// # Panics
    /// If a member has gone.
    fn wait<'a>(
        &self,
        mut round: MutexGuard<'a, Round>,
        ready: impl Fn(&Round) -> bool,
    ) -> MutexGuard<'a, Round> {
        while !ready(&round) {
            assert!(!round.lost, "a thread of the training has ended before the others");
            round = self.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        round
    }
}

/// One of several threads that train together. Every exchange panics once one
/// of them has been dropped, as a lost process ends all others.
pub struct Threads {
    rank: usize,
    size: usize,
    table: Arc<Table>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({} of {})", self.rank, self.size)
    }
}

impl Threads {
    /// So many of them, by rank.
    pub fn group(size: usize) -> Vec<Self> {
        let round = Mutex::new(Round { given: vec![None; size], ..Round::default() });
        let table = Arc::new(Table { round, changed: Condvar::new() });
        (0..size).map(|rank| Self { rank, size, table: Arc::clone(&table) }).collect()
    }

    /// What all give, by rank.
    fn exchange<T: Send + Sync + 'static>(&self, own: T) -> Vec<Arc<T>> {
        let table = &*self.table;
        // The round before may still be read by others.
        let mut round = table.wait(table.lock(), |round| round.given[self.rank].is_none());
        round.given[self.rank] = Some(Arc::new(own));
        table.changed.notify_all();
        let mut round = table.wait(round, Round::is_full);
        let all = round.given.iter().flatten().cloned().collect::<Vec<_>>();
        round.taken += 1;
        if round.taken == self.size {
            round.given.fill(None);
            round.taken = 0;
            table.changed.notify_all();
        }
        drop(round);
        let all = all.into_iter().map(|given| given.downcast::<T>());
        all.map(|given| given.expect("all make the same calls")).collect()
    }

    fn sum<T: Copy + std::ops::AddAssign + Send + Sync + 'static>(&self, values: &mut [T]) {
        let all = self.exchange(values.to_vec());
        values.copy_from_slice(&all[0]);
        for other in &all[1..] {
            values.iter_mut().zip(&**other).for_each(|(sum, value)| *sum += *value);
        }
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.sum(values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.sum(values);
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.exchange(own.to_vec()).iter().map(|given| given.to_vec()).collect()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.table.lock().lost = true;
        self.table.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_what_all_give_are_the_same_for_all() {
        let found: Vec<_> = std::thread::scope(|scope| {
            let members = Threads::group(3).into_iter().map(|member| {
                scope.spawn(move || {
                    let rank = member.rank();
                    let mut found = Vec::new();
                    for round in 0..50 {
                        let mut values = [rank as f32, 0.1 * round as f32];
                        member.sum_f32(&mut values);
                        let mut double = [1.0 / (1.0 + rank as f64)];
                        member.sum_f64(&mut double);
                        let all = member.gather(&vec![rank as u8; rank]);
                        assert_eq!(all, [vec![], vec![1], vec![2, 2]]);
                        assert_eq!(member.counts(rank + round), [round, round + 1, round + 2]);
                        assert_eq!(member.broadcast(b"first"), b"first");
                        found.push((values, double));
                    }
                    found
                })
            });
            let members: Vec<_> = members.collect();
            members.into_iter().map(|member| member.join().unwrap()).collect()
        });
        assert_eq!(found[0][7].0[0], 3.0);
        assert!((found[0][0].1[0] - (1.0 + 1.0 / 2.0 + 1.0 / 3.0)).abs() < 1e-15);
        assert!(found.iter().all(|of_one| *of_one == found[0]));
    }

    #[test]
    fn who_is_lost_ends_the_others() {
        let mut members = Threads::group(2);
        drop(members.pop());
        let waits = std::thread::spawn(move || members[0].count(1));
        assert!(waits.join().is_err());
    }
}
