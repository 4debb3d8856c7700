//! Work on several files at once, results in file order.

use std::collections::BTreeMap;
use std::num::NonZero;

use crossbeam_channel::{bounded, unbounded};

/// How many workers: as asked for, or one per CPU.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// Runs `work` on every job and hands every result to `done` in the order of the jobs, whichever worker is first.
///
/// `finished` hears the number of results so far, as soon as they exist.
pub(crate) fn in_order<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    work: impl Fn(&J) -> R + Sync,
    mut finished: impl FnMut(usize),
    mut done: impl FnMut(usize, R),
) {
    let (give, take) = unbounded::<usize>();
    for index in 0..jobs.len() {
        give.send(index).expect("the receiver lives");
    }
    drop(give);
    let (send, receive) = bounded::<(usize, R)>(jobs.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            let (take, send, work) = (take.clone(), send.clone(), &work);
            scope.spawn(move || {
                for index in take {
                    if send.send((index, work(&jobs[index]))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (count, (index, result)) in receive.into_iter().enumerate() {
            finished(count + 1);
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&next) {
                done(next, result);
                next += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_depend_on_threads() {
        let jobs: Vec<u64> = (0..50).collect();
        for threads in [1, 2, 8] {
            let mut seen = Vec::new();
            let mut counts = Vec::new();
            let work = |n: &u64| {
                std::thread::sleep(std::time::Duration::from_micros((50 - n) * 10));
                n * n
            };
            in_order(&jobs, threads, work, |n| counts.push(n), |i, r| seen.push((i, r)));
            assert_eq!(seen, jobs.iter().map(|n| (*n as usize, n * n)).collect::<Vec<_>>());
            assert_eq!(counts, (1..=50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_jobs() {
        in_order(&[] as &[u8], 4, |n| *n, |_| unreachable!(), |_, _| unreachable!());
    }
}
