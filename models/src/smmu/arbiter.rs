//! Which command queue is served next: turns of bounded length, with a CMD_SYNC of the hardware's own where a turn ends
//! without one.

use bitvec::slice::BitSlice;

/// Who has the next turn. No public source says; queue 0 is the SMMU's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The next queue by number. A ready queue waits for one turn of each other one at most.
    #[default]
    RoundRobin,
    /// The SMMU's own queue whenever it has commands, the others in turn. By design they starve while it always has some.
    MainFirst,
    /// The queue that has had a command for longest without a turn. A ready queue waits for one turn of each other one at
    /// most.
    OldestFirst,
}

/// How long a queue may be served before the others have their turn, and who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands in a turn, at least 1.
    pub commands: u32,
    /// Clocks of execution in a turn; 0 lets one command through.
    pub clocks: u64,
    /// Whether a turn that ends without CMD_SYNC gets one inserted.
    pub auto_sync: bool,
    /// Who is next.
    pub policy: Policy,
}

impl Limits {
    /// For an SMMU with a single queue.
    pub const NONE: Self =
        Self { commands: u32::MAX, clocks: u64::MAX, auto_sync: false, policy: Policy::RoundRobin };
    /// For an SMMU with several, without a block that says otherwise: one command each.
    pub const IN_TURN: Self = Self { commands: 1, ..Self::NONE };
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Take a command from this queue.
    Take(usize),
    /// Complete what this queue has issued, as a CMD_SYNC would.
    Sync(usize),
}

/// Turns of queues numbered from 0.
#[derive(Clone, Debug, Default)]
pub struct Arbiter {
    current: Option<usize>,
    commands: u32,
    clocks: u64,
    /// The turn's last command was not a CMD_SYNC.
    open: bool,
    /// The turn was closed by an inserted CMD_SYNC.
    closed: bool,
    /// Queues that have had a command since their last turn, longest first. Kept for [`Policy::OldestFirst`].
    waiting: Vec<usize>,
    /// The last queue served that is not the SMMU's own.
    last: usize,
}

impl Arbiter {
    /// Chooses among the queues whose bit is set. A turn that has reached its limit, or that ends because another queue is
    /// served, is closed by a CMD_SYNC first.
    pub fn next(&mut self, ready: &BitSlice, limits: Limits) -> Option<Grant> {
        if limits.policy == Policy::OldestFirst {
            self.note_waiting(ready);
        }
        let exhausted = self.closed || self.commands >= limits.commands || self.clocks >= limits.clocks;
        if let Some(queue) = self.current
            && !exhausted
            && ready[queue]
        {
            return Some(Grant::Take(queue));
        }
        let next = self.choose(ready, limits.policy);
        if let Some(old) = self.current
            && (exhausted || next.is_some())
            && std::mem::take(&mut self.open)
            && limits.auto_sync
        {
            self.closed = true;
            return Some(Grant::Sync(old));
        }
        let queue = next?;
        self.waiting.retain(|q| *q != queue);
        if queue > 0 {
            self.last = queue;
        }
        (self.current, self.commands, self.clocks) = (Some(queue), 0, 0);
        (self.open, self.closed) = (false, false);
        Some(Grant::Take(queue))
    }

    /// Who has the next turn.
    fn choose(&self, ready: &BitSlice, policy: Policy) -> Option<usize> {
        let after = |start: usize| {
            let start = start.min(ready.len());
            ready[start..].first_one().map(|q| q + start).or_else(|| ready[..start].first_one())
        };
        let in_turn = || after(self.current.map_or(0, |q| q + 1));
        match policy {
            Policy::RoundRobin => in_turn(),
            Policy::MainFirst if ready.first().as_deref() == Some(&true) => Some(0),
            Policy::MainFirst => after(self.last + 1),
            Policy::OldestFirst => self.waiting.iter().copied().find(|q| ready[*q]).or_else(in_turn),
        }
    }

    /// Queues get their places in the order in which they have commands; those that are new together, by number.
    fn note_waiting(&mut self, ready: &BitSlice) {
        for queue in ready.iter_ones() {
            if self.current != Some(queue) && !self.waiting.contains(&queue) {
                self.waiting.push(queue);
            }
        }
    }

    /// A command was taken that keeps the engine busy for `clocks`.
    pub fn served(&mut self, is_sync: bool, clocks: u64) {
        self.commands += 1;
        self.clocks += clocks;
        self.open = !is_sync;
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use bitvec::prelude::*;
    use proptest::prelude::*;

    fn serve(arbiter: &mut Arbiter, ready: &[usize], limits: Limits) -> String {
        let mut bits = bitvec![0; 4];
        ready.iter().for_each(|&q| bits.set(q, true));
        match arbiter.next(&bits, limits) {
            None => "-".into(),
            Some(Grant::Sync(q)) => format!("s{q}"),
            Some(Grant::Take(q)) => {
                arbiter.served(false, 10);
                q.to_string()
            }
        }
    }

    #[test]
    fn turns() {
        let plain = Limits { commands: 2, ..Limits::NONE };
        let sync = Limits { auto_sync: true, ..plain };
        let clocks = Limits { commands: 9, clocks: 30, ..Limits::NONE };
        let main = Limits { policy: Policy::MainFirst, ..plain };
        for (limits, ready, want) in [
            (plain, &[0, 1, 3][..], "0 0 1 1 3 3 0 0 1 1"),
            (sync, &[0, 2], "0 0 s0 2 2 s2 0 0 s0 2"),
            (sync, &[1], "1 1 s1 1 1 s1 1 1 s1 1"),
            (clocks, &[0, 1], "0 0 0 1 1 1 0 0 0 1"),
            (Limits::NONE, &[0], "0 0 0 0 0 0 0 0 0 0"),
            (plain, &[], "- - - - - - - - - -"),
            (main, &[0, 1, 3], "0 0 0 0 0 0 0 0 0 0"),
            (main, &[1, 3], "1 1 3 3 1 1 3 3 1 1"),
        ] {
            let mut arbiter = Arbiter::default();
            let got: Vec<_> = (0..10).map(|_| serve(&mut arbiter, ready, limits)).collect();
            assert_eq!(got.join(" "), want, "{limits:?}");
        }
    }

    /// Which queues have commands changes from one look to the next.
    #[test]
    fn changing_queues() {
        let plain = Limits { commands: 2, ..Limits::NONE };
        let sync = Limits { commands: 8, auto_sync: true, ..plain };
        let (main, oldest) = (Policy::MainFirst, Policy::OldestFirst);
        for (limits, ready, want) in [
            // A queue that runs dry is closed when another is served.
            (sync, &[&[1][..], &[], &[2], &[2], &[1, 2]][..], "1 - s1 2 2"),
            // At the limit it is closed whether anyone waits or not, and once.
            (Limits { commands: 2, ..sync }, &[&[1], &[1], &[], &[], &[1]], "1 1 s1 - 1"),
            // The SMMU's own queue does not cut a turn short, and does not change whose turn is next.
            (
                Limits { policy: main, ..plain },
                &[&[1, 3], &[0, 1, 3], &[0, 1, 3], &[1, 3], &[1, 3], &[1, 3]],
                "1 1 0 3 3 1",
            ),
            // Who comes first is served first, whatever the numbers.
            (
                Limits { policy: oldest, ..plain },
                &[&[3], &[2, 3], &[1, 2, 3], &[1, 2, 3], &[1, 2, 3], &[1, 2, 3], &[1, 2, 3]],
                "3 3 2 2 1 1 3",
            ),
        ] {
            let mut arbiter = Arbiter::default();
            let got: Vec<_> = ready.iter().map(|ready| serve(&mut arbiter, ready, limits)).collect();
            assert_eq!(got.join(" "), want, "{limits:?}");
        }
    }

    #[test]
    fn a_sync_closes_the_turn_itself() {
        let limits = Limits { commands: 1, auto_sync: true, ..Limits::NONE };
        let mut arbiter = Arbiter::default();
        let both = bitvec![1, 1];
        for queue in [0, 1, 0, 1] {
            assert_eq!(arbiter.next(&both, limits), Some(Grant::Take(queue)));
            arbiter.served(true, 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// However the others come and go: a queue that has commands all the time waits for one turn of each of them at most,
        /// a turn is no longer than its limit, and one that issued without CMD_SYNC is closed before the next.
        #[test]
        fn nobody_starves(
            others in proptest::collection::vec((0_u8..16, proptest::bool::weighted(0.2)), 1..120),
            commands in 1_u32..5,
            patient in 0_usize..4,
            policy in proptest::sample::select(vec![Policy::RoundRobin, Policy::OldestFirst]),
        ) {
            let limits = Limits { commands, auto_sync: true, policy, ..Limits::NONE };
            let mut arbiter = Arbiter::default();
            let (mut turns, mut length, mut last, mut open) = (0, 0, None, false);
            for (ready, is_sync) in others {
                let mut bits: BitVec = (0..4).map(|q| ready >> q & 1 != 0).collect();
                bits.set(patient, true);
                match arbiter.next(&bits, limits).expect("someone has a command") {
                    Grant::Sync(queue) => {
                        prop_assert!(open && Some(queue) == last);
                        (open, last) = (false, None);
                    }
                    Grant::Take(queue) => {
                        if last == Some(queue) && length < commands {
                            length += 1;
                        } else {
                            prop_assert!(!open, "the turn of {last:?} was not closed");
                            (turns, length) = (turns + 1, 1);
                        }
                        if queue == patient {
                            turns = 0;
                        }
                        prop_assert!(turns <= 3, "waits for {turns} turns");
                        arbiter.served(is_sync, 1);
                        (last, open) = (Some(queue), !is_sync);
                    }
                }
            }
        }
    }
}
