//! The erratum of Tegra264 (option K16 of the CMDQV): every sequence of CFGI and TLBI commands up to its CMD_SYNC must be
//! issued twice, the second time after that CMD_SYNC has completed. Here the first issue is always lost. Others may share the
//! queue: what they issue between the two, CMD_SYNCs included, changes nothing.

use spec::smmu::Command;

/// Invalidations remembered per queue; software that never synchronises loses older ones.
const DEPTH: usize = 1024;

/// What each queue has issued.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repeats {
    queues: Vec<Queue>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// Lost since the last CMD_SYNC.
    current: Vec<Command>,
    /// Lost before that CMD_SYNC, and not issued again since.
    previous: Vec<Command>,
}

impl Repeats {
    pub(crate) fn new(ports: usize) -> Self {
        Self { queues: vec![Queue::default(); ports] }
    }
    /// Whether this invalidation is the first of its pair, and therefore lost.
    pub(crate) fn loses(&mut self, port: usize, command: Command) -> bool {
        let queue = &mut self.queues[port];
        if let Some(at) = queue.previous.iter().position(|c| *c == command) {
            queue.previous.swap_remove(at);
            return false;
        }
        if queue.current.len() == DEPTH {
            queue.current.clear();
        }
        queue.current.push(command);
        true
    }
    /// A CMD_SYNC of this queue has completed.
    pub(crate) fn synced(&mut self, port: usize) {
        let queue = &mut self.queues[port];
        queue.previous.append(&mut queue.current);
        let excess = queue.previous.len().saturating_sub(DEPTH);
        queue.previous.drain(..excess);
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_second_issue_acts() {
        let (a, b) = (Command::tlbi_nsnh_all(), Command::cfgi_all());
        let mut r = Repeats::new(2);
        // `!` is a CMD_SYNC; upper case acts, lower case is lost.
        let mut play = |port: usize, text: &str| {
            text.chars()
                .map(|c| match c.to_ascii_lowercase() {
                    '!' => {
                        r.synced(port);
                        '!'
                    }
                    'a' => {
                        if r.loses(port, a) {
                            'a'
                        } else {
                            'A'
                        }
                    }
                    _ => {
                        if r.loses(port, b) {
                            'b'
                        } else {
                            'B'
                        }
                    }
                })
                .collect::<String>()
        };
        for (port, text) in [(0, "ab!AB!ab!B!A"), (1, "aa!AA!"), (0, "!a!"), (0, "b!!B!Ab!aB!A")] {
            assert_eq!(play(port, text), text, "queue {port}");
        }
    }
}
