//! The root port and its link: latency, bandwidth in both directions, and StreamIDs.

use sim::Time;

use super::LinkTiming;

/// A root port with one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPortConfig {
    /// Added to a requester ID, gives the StreamID.
    pub sid_base: u32,
    /// What the link costs.
    pub timing: LinkTiming,
}

impl RootPortConfig {
    /// A Gen5 x16 link whose StreamIDs begin at `sid_base`.
    pub fn new(sid_base: u32) -> Self {
        Self { sid_base, timing: LinkTiming::default() }
    }
    /// The StreamID of a requester ID (bus, device, function).
    pub fn stream(&self, requester_id: u16) -> u32 {
        self.sid_base.wrapping_add(u32::from(requester_id))
    }
}

/// The two directions of a link, each a queue.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub timing: LinkTiming,
    up: Time,
    down: Time,
}

impl Link {
    pub(super) fn new(timing: LinkTiming) -> Self {
        Self { timing, up: Time::ZERO, down: Time::ZERO }
    }
    /// When a packet that the endpoint sends now is at the root port.
    pub(super) fn up(&mut self, now: Time, payload: usize) -> Time {
        send(&mut self.up, now, payload, &self.timing)
    }
    /// When a packet that the root port sends now is at the endpoint.
    pub(super) fn down(&mut self, now: Time, payload: usize) -> Time {
        send(&mut self.down, now, payload, &self.timing)
    }
}

fn send(free: &mut Time, now: Time, payload: usize, timing: &LinkTiming) -> Time {
    *free = now.max(*free) + timing.packet_time(payload);
    *free + timing.latency
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn packets_queue_for_the_link_and_directions_are_independent() {
        let t = LinkTiming::default();
        let mut link = Link::new(t);
        let one = t.packet_time(64);
        for (name, got, want) in [
            ("first", link.up(Time::ZERO, 64), one + t.latency),
            ("second waits", link.up(Time::ZERO, 64), one * 2 + t.latency),
            ("the other direction does not", link.down(Time::ZERO, 64), one + t.latency),
            ("an idle link does not", link.up(Time::us(1), 64), Time::us(1) + one + t.latency),
        ] {
            assert_eq!(got, want, "{name}");
        }
    }
}
