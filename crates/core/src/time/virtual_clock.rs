//! Virtual time: the clock jumps to the next timer whenever nothing can run.
//!
//! Everything under test must run inside the one future given to [`VirtualClock::run`] (concurrency by joining, not by
//! spawning on other threads), so that "nothing can run" is known for certain and a run is the same every time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use async_trait::async_trait;

use super::{Clock, Timestamp};

/// A clock that only [`VirtualClock::run`] moves. Clones share the time.
#[derive(Clone)]
pub struct VirtualClock(Arc<Mutex<State>>);

struct State {
    now: Timestamp,
    next_number: u64,
    timers: BinaryHeap<Reverse<Timer>>,
}

struct Timer {
    instant: Timestamp,
    number: u64,
    waker: Waker,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.instant, self.number).cmp(&(other.instant, other.number))
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl VirtualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: start,
            next_number: 0,
            timers: BinaryHeap::new(),
        })))
    }

    /// Drives `future` to its end, moving the time to the next timer whenever it cannot go on.
    ///
    /// # Panics
    /// When the future waits and no timer is set: nothing could ever wake it.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        loop {
            while flag.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return output;
                }
            }
            let timer = {
                let mut state = self.lock();
                let Reverse(timer) = state
                    .timers
                    .pop()
                    .expect("the future waits, and no timer will ever wake it");
                state.now = state.now.max(timer.instant);
                timer
            };
            timer.waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock was held cannot leave the state half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut registered: Option<Waker> = None;
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            if state.now >= instant {
                return Poll::Ready(());
            }
            // One timer for each sleeper, however often a neighbour's wake-up polls it again.
            let known = registered
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()));
            if known || instant == Timestamp::NEVER {
                return Poll::Pending;
            }
            registered = Some(context.waker().clone());
            let number = state.next_number;
            state.next_number += 1;
            state.timers.push(Reverse(Timer {
                instant,
                number,
                waker: context.waker().clone(),
            }));
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join;

    use super::*;
    use crate::time::{Elapsed, within};

    #[test]
    fn hours_pass_at_once_and_in_order() {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        let order = Mutex::new(Vec::new());
        clock.run(join(
            async {
                clock.sleep_until(Timestamp::from_millis(7_200_000)).await;
                order.lock().unwrap().push("two hours");
            },
            async {
                clock.sleep_until(Timestamp::from_millis(3_600_000)).await;
                order.lock().unwrap().push("one hour");
            },
        ));
        assert_eq!(*order.lock().unwrap(), ["one hour", "two hours"]);
        assert_eq!(clock.now(), Timestamp::from_millis(7_200_000));
    }

    #[test]
    fn a_step_ends_at_its_deadline() {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        let deadline = clock.now() + Duration::from_secs(30);
        let outcome = clock.run(within(&clock, deadline, std::future::pending::<()>()));
        assert_eq!((outcome, clock.now()), (Err(Elapsed), deadline));
    }
}
