//! Work for a given number of threads. Results never depend on how many there are.
//!
//! Threads live for one call: starting one costs some 20 µs, which a search that asks for several can afford, and
//! nothing is left running behind the caller's back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Threads that this process may run at once.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Run `task(0) .. task(tasks - 1)` on up to `threads` threads and return the results in task order.
pub fn map<T: Send>(threads: usize, tasks: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if threads <= 1 || tasks <= 1 {
        return (0..tasks).map(task).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= tasks {
                return done;
            }
            done.push((index, task(index)));
        }
    };
    let mut results = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(tasks)).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            match other.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Give each thread chunks of `data` (`chunk` items, the last one shorter) with the position where each starts.
pub fn chunks_mut<T: Send>(
    threads: usize,
    data: &mut [T],
    chunk: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunk = chunk.max(1);
    if threads <= 1 || data.len() <= chunk {
        for (index, part) in data.chunks_mut(chunk).enumerate() {
            task(index * chunk, part);
        }
        return;
    }
    let workers = threads.min(data.len().div_ceil(chunk));
    let queue = Mutex::new(data.chunks_mut(chunk).enumerate());
    let work = || {
        loop {
            // The lock only guards taking the next chunk: a task that panicked elsewhere leaves it intact.
            let taken = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, part)) = taken else { return };
            task(index * chunk, part);
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_depend_on_threads() {
        for threads in [1, 2, 7] {
            assert_eq!(map(threads, 100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
            let mut data = vec![0usize; 103];
            chunks_mut(threads, &mut data, 10, |start, part| {
                for (i, value) in part.iter_mut().enumerate() {
                    *value = start + i;
                }
            });
            assert_eq!(data, (0..103).collect::<Vec<_>>());
        }
        assert!(map(4, 0, |i| i).is_empty());
    }
}
