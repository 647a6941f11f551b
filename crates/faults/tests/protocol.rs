//! The protocol of leases and write-back as a model, every state of it: workers that crash and stand still at any point, posts that
//! arrive late, replies that are lost. Delivered once, or uncertain; never two.
//!
//! What the model leaves out is time. It has two assumptions about it, each of which is a rule of `core::stages::write_back`: a
//! post begins before its lease ends, and "not there" is believed only when no post that was begun can still arrive.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use stateright::{Checker, Model, Property};

/// How it is settled whether the EHR has a draft: as `core::ports::Settlement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settlement {
    Operator,
    Search,
    PostAgain,
}

/// What is left out of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A write does not ask whether the lease is still there.
    Fence,
    /// Nothing is recorded before a post.
    Intent,
    /// A post may begin after its lease has ended.
    Deadline,
    /// "Not there" is believed at once.
    Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Delivery {
    Pending,
    Intended,
    Delivered,
    Uncertain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// Has the lease of this number; what it read.
    Leased(u8, Delivery),
    /// Is about to post.
    Intends(u8),
    /// Has posted, and waits.
    Waits(u8),
    /// Has the acknowledgement.
    Knows(u8),
    /// Will get no reply.
    Wonders(u8),
}

/// A draft: the row of the store, the chart, what is on its way, and the workers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    delivery: Delivery,
    fence: u8,
    /// The lease has not expired, as far as the store knows.
    is_leased: bool,
    drafts: u8,
    /// Posts on their way: by which worker, and of which of its leases.
    posts: Vec<(usize, u8)>,
    /// Replies on their way.
    replies: Vec<(usize, u8)>,
    workers: Vec<Worker>,
    crashes_left: u8,
    losses_left: u8,
    leases_left: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// The lease ends without anybody noticing.
    Expire,
    Acquire(usize),
    Step(usize),
    /// The worker looks whether the draft is there, or gives up knowing.
    Settle(usize),
    Arrive(usize),
    Reply(usize),
    Lose(usize),
    Crash(usize),
}

struct Protocol {
    settlement: Settlement,
    without: Without,
    workers: usize,
}

impl Protocol {
    /// Whether a write under this lease is taken.
    fn holds(&self, state: &State, fence: u8) -> bool {
        state.fence == fence || self.without == Without::Fence
    }

    /// Ends a lease with the draft in this state.
    fn end(&self, state: &mut State, worker: usize, fence: u8, delivery: Delivery) {
        if self.holds(state, fence) {
            state.delivery = delivery;
            state.is_leased = false;
        }
        state.workers[worker] = Worker::Idle;
    }

    fn step(&self, state: &mut State, worker: usize) -> Option<()> {
        match state.workers[worker] {
            Worker::Leased(fence, Delivery::Pending) => {
                if self.without == Without::Intent {
                    state.workers[worker] = Worker::Intends(fence);
                } else if self.holds(state, fence) {
                    state.delivery = Delivery::Intended;
                    state.workers[worker] = Worker::Intends(fence);
                } else {
                    state.workers[worker] = Worker::Idle;
                }
            }
            Worker::Intends(fence) => {
                let is_in_time = state.is_leased && state.fence == fence;
                if is_in_time || matches!(self.without, Without::Deadline | Without::Fence | Without::Intent) {
                    state.posts.push((worker, fence));
                    state.workers[worker] = Worker::Waits(fence);
                } else {
                    // Found out when it wakes up: the intent stays for whoever has the lease now.
                    state.workers[worker] = Worker::Idle;
                }
            }
            Worker::Knows(fence) => self.end(state, worker, fence, Delivery::Delivered),
            Worker::Wonders(fence) => {
                let delivery = match self.settlement {
                    Settlement::Operator => Delivery::Uncertain,
                    Settlement::Search | Settlement::PostAgain => Delivery::Intended,
                };
                let delivery = if self.without == Without::Intent && delivery == Delivery::Intended {
                    Delivery::Pending
                } else {
                    delivery
                };
                self.end(state, worker, fence, delivery);
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether a post that was begun may still arrive.
    fn may_still_arrive(state: &State, but: usize) -> bool {
        let about_to = |(number, worker): (usize, &Worker)| {
            // In time to post only as long as the lease is theirs, which it is not while another has it.
            number != but && matches!(worker, Worker::Intends(fence) if state.is_leased && *fence == state.fence)
        };
        !state.posts.is_empty() || state.workers.iter().enumerate().any(about_to)
    }

    fn settle(&self, state: &mut State, worker: usize) -> Option<()> {
        let Worker::Leased(fence, Delivery::Intended) = state.workers[worker] else {
            return None;
        };
        match self.settlement {
            Settlement::Operator => self.end(state, worker, fence, Delivery::Uncertain),
            Settlement::Search if state.drafts > 0 => self.end(state, worker, fence, Delivery::Delivered),
            Settlement::Search | Settlement::PostAgain => {
                if Self::may_still_arrive(state, worker) && self.without != Without::Patience {
                    // It is looked for again later.
                    self.end(state, worker, fence, Delivery::Intended);
                } else if self.holds(state, fence) {
                    state.delivery = Delivery::Intended;
                    state.workers[worker] = Worker::Intends(fence);
                } else {
                    state.workers[worker] = Worker::Idle;
                }
            }
        }
        Some(())
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            delivery: Delivery::Pending,
            fence: 0,
            is_leased: false,
            drafts: 0,
            posts: Vec::new(),
            replies: Vec::new(),
            workers: vec![Worker::Idle; self.workers],
            crashes_left: 2,
            losses_left: 2,
            leases_left: 5,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.is_leased {
            actions.push(Action::Expire);
        }
        let is_open = matches!(state.delivery, Delivery::Pending | Delivery::Intended);
        for (worker, does) in state.workers.iter().enumerate() {
            if *does == Worker::Idle {
                if is_open && !state.is_leased && state.leases_left > 0 {
                    actions.push(Action::Acquire(worker));
                }
                continue;
            }
            actions.extend([Action::Step(worker), Action::Settle(worker)]);
            if state.crashes_left > 0 {
                actions.push(Action::Crash(worker));
            }
        }
        actions.extend((0..state.posts.len()).map(Action::Arrive));
        for reply in 0..state.replies.len() {
            actions.push(Action::Reply(reply));
            if state.losses_left > 0 {
                actions.push(Action::Lose(reply));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Expire => state.is_leased = false,
            Action::Acquire(worker) => {
                state.fence += 1;
                state.leases_left -= 1;
                state.is_leased = true;
                state.workers[worker] = Worker::Leased(state.fence, state.delivery);
            }
            Action::Step(worker) => self.step(&mut state, worker)?,
            Action::Settle(worker) => self.settle(&mut state, worker)?,
            Action::Arrive(post) => {
                let (worker, fence) = state.posts.remove(post);
                let is_known = self.settlement == Settlement::PostAgain && state.drafts > 0;
                state.drafts += u8::from(!is_known);
                state.replies.push((worker, fence));
            }
            Action::Reply(reply) | Action::Lose(reply) => {
                let (worker, fence) = state.replies.remove(reply);
                let is_lost = matches!(action, Action::Lose(_));
                state.losses_left -= u8::from(is_lost);
                // Whoever waited may have crashed since.
                if state.workers[worker] == Worker::Waits(fence) {
                    state.workers[worker] = if is_lost {
                        Worker::Wonders(fence)
                    } else {
                        Worker::Knows(fence)
                    };
                }
            }
            Action::Crash(worker) => {
                state.crashes_left -= 1;
                state.workers[worker] = Worker::Idle;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("never two", |_, state| state.drafts <= 1),
            Property::<Self>::always("delivered is in the chart", |_, state| {
                state.delivery != Delivery::Delivered || state.drafts >= 1
            }),
            Property::<Self>::always("what is in the chart is known or intended", |protocol, state| {
                protocol.without == Without::Intent || state.delivery != Delivery::Pending || state.drafts == 0
            }),
            Property::<Self>::sometimes("delivered", |_, state| state.delivery == Delivery::Delivered),
            Property::<Self>::sometimes("delivered after a crash", |_, state| {
                state.delivery == Delivery::Delivered && state.crashes_left < 2
            }),
        ]
    }
}

const SAFETY: [&str; 3] = [
    "never two",
    "delivered is in the chart",
    "what is in the chart is known or intended",
];

/// How many states there are, and which of the rules does not hold.
fn explored(settlement: Settlement, without: Without, workers: usize) -> (usize, Option<&'static str>) {
    let protocol = Protocol {
        settlement,
        without,
        workers,
    };
    let checker = protocol.checker().spawn_bfs().join();
    let broken = SAFETY.into_iter().find(|rule| checker.discovery(rule).is_some());
    if broken.is_none() {
        checker.assert_properties();
    }
    (checker.unique_state_count(), broken)
}

#[test]
fn the_protocol_delivers_once_or_says_that_it_does_not_know() {
    // As many states as docs/faults.md and docs/trust.md say.
    for (settlement, states) in [
        (Settlement::Operator, 3_514),
        (Settlement::Search, 6_804),
        (Settlement::PostAgain, 57_839),
    ] {
        assert_eq!(
            explored(settlement, Without::Nothing, 2),
            (states, None),
            "{settlement:?}"
        );
    }
}

#[test]
fn each_part_of_the_protocol_is_needed() {
    use Settlement::{Operator, PostAgain, Search};
    for (without, settlements) in [
        (Without::Fence, &[Operator, Search][..]),
        (Without::Intent, &[Operator, Search]),
        (Without::Deadline, &[Search]),
        (Without::Patience, &[Search]),
    ] {
        for settlement in settlements {
            let (_, broken) = explored(*settlement, without, 2);
            assert_eq!(broken, Some("never two"), "{settlement:?} without {without:?}");
        }
    }
    // Where the EHR recognises a draft, no mistake of ours makes two of it.
    let (_, broken) = explored(PostAgain, Without::Intent, 2);
    assert_ne!(broken, Some("never two"));
}
