//! Progress out, cancellation in, both at most ten times a second however often a build looks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Whoever waits for a build.
pub trait Observer: Sync {
    /// `done` of `total` units of `phase` are behind us.
    fn progress(&self, phase: &'static str, done: usize, total: usize);

    /// Whether the build should stop.
    fn cancelled(&self) -> bool;
}

/// Nobody waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&self, _: &'static str, _: usize, _: usize) {}

    fn cancelled(&self) -> bool {
        false
    }
}

const INTERVAL: Duration = Duration::from_millis(100);

/// Rate limiter between a build's inner loops, on any thread, and its observer.
pub(crate) struct Watch<'a> {
    observer: &'a dyn Observer,
    stopped: AtomicBool,
    last: Mutex<Last>,
}

/// What was reported last; threads may come back out of order, a report never goes backwards.
#[derive(Default)]
struct Last {
    asked: Option<Instant>,
    phase: &'static str,
    done: usize,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, stopped: AtomicBool::new(false), last: Mutex::default() }
    }

    /// Report where the build is, unless that was done a moment ago, and ask whether to go on.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the observer has said so, on every later call too.
    pub(crate) fn tick(&self, phase: &'static str, done: usize, total: usize) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        // Another thread that holds the lock is asking right now.
        if let Ok(mut last) = self.last.try_lock()
            && last.asked.is_none_or(|then| then.elapsed() >= INTERVAL)
        {
            let done = if last.phase == phase { done.max(last.done) } else { done };
            (last.phase, last.done) = (phase, done);
            self.observer.progress(phase, done, total);
            if self.observer.cancelled() {
                self.stopped.store(true, Ordering::Relaxed);
                return Err(Error::Cancelled);
            }
            last.asked = Some(Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Counting {
        reports: AtomicUsize,
        stop: bool,
    }

    impl Observer for Counting {
        fn progress(&self, _: &'static str, _: usize, _: usize) {
            self.reports.fetch_add(1, Ordering::Relaxed);
        }

        fn cancelled(&self) -> bool {
            self.stop
        }
    }

    #[test]
    fn reports_are_rare() {
        let observer = Counting { reports: AtomicUsize::new(0), stop: false };
        let watch = Watch::new(&observer);
        for done in 0..10_000 {
            watch.tick("phase", done, 10_000).unwrap();
        }
        let reports = observer.reports.load(Ordering::Relaxed);
        assert!((1..=3).contains(&reports), "{reports} reports in a few milliseconds");
    }

    #[test]
    fn a_cancelled_build_stays_cancelled() {
        let observer = Counting { reports: AtomicUsize::new(0), stop: true };
        let watch = Watch::new(&observer);
        for _ in 0..3 {
            assert!(matches!(watch.tick("phase", 0, 1), Err(Error::Cancelled)));
        }
        assert_eq!(observer.reports.load(Ordering::Relaxed), 1);
    }
}
