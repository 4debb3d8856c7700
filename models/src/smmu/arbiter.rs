//! Which command queue is served next: round robin in bounded batches, with a CMD_SYNC of the hardware's own where a
//! batch ends without one.

use bitvec::slice::BitSlice;

/// How long a queue may be served before the others have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands in a batch, at least 1.
    pub commands: u32,
    /// Clocks of execution in a batch; 0 lets one command through.
    pub clocks: u64,
    /// Whether a batch that ends without CMD_SYNC gets one inserted.
    pub auto_sync: bool,
}

impl Limits {
    /// For an SMMU with a single queue.
    pub const NONE: Self = Self { commands: u32::MAX, clocks: u64::MAX, auto_sync: false };
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

/// Round robin over queues numbered from 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arbiter {
    current: Option<usize>,
    commands: u32,
    clocks: u64,
    /// The batch's last command was not a CMD_SYNC.
    open: bool,
}

impl Arbiter {
    /// Chooses among the queues whose bit is set. A queue is served again only after every other ready queue was.
    pub fn next(&mut self, ready: &BitSlice, limits: Limits) -> Option<Grant> {
        let exhausted = self.commands >= limits.commands || self.clocks >= limits.clocks;
        if let Some(queue) = self.current
            && !exhausted
            && ready[queue]
        {
            return Some(Grant::Take(queue));
        }
        let start = self.current.map_or(0, |q| q + 1).min(ready.len());
        let queue = ready[start..].first_one().map(|q| q + start).or_else(|| ready[..start].first_one())?;
        if let Some(old) = self.current
            && std::mem::take(&mut self.open)
            && limits.auto_sync
        {
            return Some(Grant::Sync(old));
        }
        *self = Self { current: Some(queue), ..Self::default() };
        Some(Grant::Take(queue))
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
    fn batches() {
        let plain = Limits { commands: 2, clocks: u64::MAX, auto_sync: false };
        let sync = Limits { auto_sync: true, ..plain };
        let clocks = Limits { commands: 9, clocks: 30, auto_sync: false };
        for (limits, ready, want) in [
            (plain, &[0, 1, 3][..], "0 0 1 1 3 3 0 0 1 1"),
            (sync, &[0, 2], "0 0 s0 2 2 s2 0 0 s0 2"),
            (sync, &[1], "1 1 s1 1 1 s1 1 1 s1 1"),
            (clocks, &[0, 1], "0 0 0 1 1 1 0 0 0 1"),
            (Limits::NONE, &[0], "0 0 0 0 0 0 0 0 0 0"),
            (plain, &[], "- - - - - - - - - -"),
        ] {
            let mut arbiter = Arbiter::default();
            let got: Vec<_> = (0..10).map(|_| serve(&mut arbiter, ready, limits)).collect();
            assert_eq!(got.join(" "), want, "{limits:?}");
        }
    }

    #[test]
    fn a_queue_that_runs_dry_is_closed_when_another_is_served() {
        let limits = Limits { commands: 8, clocks: u64::MAX, auto_sync: true };
        let mut arbiter = Arbiter::default();
        let got = [&[1][..], &[], &[2], &[2], &[1, 2]].map(|ready| serve(&mut arbiter, ready, limits));
        assert_eq!(got, ["1", "-", "s1", "2", "2"]);
    }

    #[test]
    fn a_sync_closes_the_batch_itself() {
        let limits = Limits { commands: 1, clocks: u64::MAX, auto_sync: true };
        let mut arbiter = Arbiter::default();
        let both = bitvec![1, 1];
        for queue in [0, 1, 0, 1] {
            assert_eq!(arbiter.next(&both, limits), Some(Grant::Take(queue)));
            arbiter.served(true, 1);
        }
    }
}
