//! A streaming device: one chunk every period, over a window of input addresses, a given number of times.
//!
//! | offset | register | |
//! |---|---|---|
//! | 0x00 | CONTROL | run\[0\], write\[1\]; run clears itself at the end |
//! | 0x04 | SSID | number\[19:0\], valid\[31\] |
//! | 0x08 | BASE | 64 bits: first byte of the window |
//! | 0x10 | WINDOW | 64 bits: bytes of the window |
//! | 0x18 | PERIOD | nanoseconds between chunks |
//! | 0x1c | CHUNK | bytes of a chunk, up to 1 MiB |
//! | 0x20 | COUNT | 64 bits: number of chunks |
//! | 0x28 | DONE | 64 bits, read only: chunks moved |
//! | 0x30 | ABORTED | 64 bits, read only: chunks of which some part was refused |
//! | 0x38 | MISSED | 64 bits, read only: periods without a chunk, because too many were under way |
//! | 0x40 | MSI | 64 bits: address written at the end; 0 means none |
//! | 0x48 | MSI_DATA | what is written there |

use sim::Time;

use super::engine::{Engine, Finished, Transfer, Work};
use super::nvme::{high, low, set_high, set_low};
use super::{Context, In, Message};

/// What a streaming device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Begins by itself when the machine starts.
    pub run: bool,
    /// Writes memory, rather than reads it.
    pub write: bool,
    /// SubstreamID, if any.
    pub ssid: Option<u32>,
    /// First byte of the window.
    pub base: u64,
    /// Bytes of the window.
    pub window: u64,
    /// Bytes of a chunk, up to [`CHUNK_MAX`].
    pub chunk: u32,
    /// From one chunk to the next.
    pub period: Time,
    /// Number of chunks.
    pub count: u64,
    /// Chunks that may be under way at once.
    pub backlog: u32,
}

/// Bytes of the largest chunk.
pub const CHUNK_MAX: u32 = 1 << 20;

impl Default for StreamConfig {
    /// Stopped, with nothing to do until its registers are written.
    fn default() -> Self {
        Self {
            run: false,
            write: false,
            ssid: None,
            base: 0,
            window: 0,
            chunk: 64,
            period: Time::us(1),
            count: 0,
            backlog: 64,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    config: StreamConfig,
    running: bool,
    /// Tells the ticks of this run from those of earlier ones.
    run: u64,
    sent: u64,
    done: u64,
    aborted: u64,
    missed: u64,
    under_way: u32,
    message: Message,
}

impl Stream {
    pub(super) fn new(config: StreamConfig) -> Self {
        Self {
            config,
            running: false,
            run: 0,
            sent: 0,
            done: 0,
            aborted: 0,
            missed: 0,
            under_way: 0,
            message: Message::default(),
        }
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        let c = &self.config;
        match offset {
            CONTROL => (u32::from(self.running) * RUN) | (u32::from(c.write) * WRITE),
            SSID => c.ssid.map_or(0, |ssid| ssid & SSID_MASK | SSID_VALID),
            BASE => low(c.base),
            HIGH_BASE => high(c.base),
            WINDOW => low(c.window),
            HIGH_WINDOW => high(c.window),
            PERIOD => u32::try_from(c.period.as_ps() / 1_000).unwrap_or(u32::MAX),
            CHUNK => c.chunk,
            COUNT => low(c.count),
            HIGH_COUNT => high(c.count),
            DONE => low(self.done),
            HIGH_DONE => high(self.done),
            ABORTED => low(self.aborted),
            HIGH_ABORTED => high(self.aborted),
            MISSED => low(self.missed),
            HIGH_MISSED => high(self.missed),
            MSI => low(self.message.addr),
            HIGH_MSI => high(self.message.addr),
            MSI_DATA => self.message.data,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u32, cx: &mut Context) {
        let c = &mut self.config;
        match offset {
            CONTROL => {
                c.write = value & WRITE != 0;
                if value & RUN == 0 {
                    self.running = false;
                } else if !self.running {
                    self.begin(cx);
                }
            }
            SSID => c.ssid = (value & SSID_VALID != 0).then_some(value & SSID_MASK),
            BASE => set_low(&mut c.base, value),
            HIGH_BASE => set_high(&mut c.base, value),
            WINDOW => set_low(&mut c.window, value),
            HIGH_WINDOW => set_high(&mut c.window, value),
            PERIOD => c.period = Time::ns(value.into()),
            CHUNK => c.chunk = value,
            COUNT => set_low(&mut c.count, value),
            HIGH_COUNT => set_high(&mut c.count, value),
            MSI => set_low(&mut self.message.addr, value & !3),
            HIGH_MSI => set_high(&mut self.message.addr, value),
            MSI_DATA => self.message.data = value,
            _ => {}
        }
    }

    /// The machine starts.
    pub(super) fn start(&mut self, cx: &mut Context) {
        if self.config.run {
            self.begin(cx);
        }
    }

    /// Begins a run, unless what is configured makes none.
    fn begin(&mut self, cx: &mut Context) {
        let c = &self.config;
        let sensible = (1..=CHUNK_MAX).contains(&c.chunk) && u64::from(c.chunk) <= c.window && c.count > 0;
        if sensible {
            self.running = true;
            self.run += 1;
            (self.sent, self.done, self.aborted, self.missed) = (0, 0, 0, 0);
            cx.wake(Time::ZERO, In::Timer(self.run));
        }
    }

    pub(super) fn tick(&mut self, run: u64, engine: &mut Engine, cx: &mut Context) {
        if !self.running || run != self.run || self.sent == self.config.count {
            return;
        }
        let c = &self.config;
        if self.under_way < c.backlog.max(1) {
            let chunks = c.window / u64::from(c.chunk);
            let iova = c.base.wrapping_add(self.sent % chunks * u64::from(c.chunk));
            let pattern = self.sent.to_le_bytes().to_vec();
            engine.start(Transfer {
                write: c.write,
                iova,
                ssid: c.ssid,
                len: c.chunk,
                pattern,
                ..Transfer::of_device(Work::Chunk { run })
            });
            self.under_way += 1;
            self.sent += 1;
        } else {
            self.missed += 1;
            engine.counters.missed += 1;
        }
        cx.wake(c.period.max(Time::ns(1)), In::Timer(run));
    }

    pub(super) fn finished(&mut self, work: Work, finished: &Finished, engine: &mut Engine) {
        let Work::Chunk { run } = work else { return };
        self.under_way -= 1;
        if run != self.run {
            return;
        }
        if finished.aborted {
            self.aborted += 1;
        } else {
            self.done += 1;
        }
        if self.running && self.done + self.aborted == self.config.count {
            self.running = false;
            if self.message.addr != 0 {
                self.message.send(engine);
            }
        }
    }
}

const RUN: u32 = 1 << 0;
const WRITE: u32 = 1 << 1;
const SSID_VALID: u32 = 1 << 31;
const SSID_MASK: u32 = 0xf_ffff;

/// Starts, stops and turns the stream.
pub const CONTROL: u64 = 0x00;
/// SubstreamID.
pub const SSID: u64 = 0x04;
/// First byte of the window.
pub const BASE: u64 = 0x08;
/// Bytes of the window.
pub const WINDOW: u64 = 0x10;
/// Nanoseconds between chunks.
pub const PERIOD: u64 = 0x18;
/// Bytes of a chunk.
pub const CHUNK: u64 = 0x1c;
/// Number of chunks.
pub const COUNT: u64 = 0x20;
/// Chunks moved.
pub const DONE: u64 = 0x28;
/// Chunks of which some part was refused.
pub const ABORTED: u64 = 0x30;
/// Periods without a chunk.
pub const MISSED: u64 = 0x38;
/// Address of the MSI.
pub const MSI: u64 = 0x40;
/// Data of the MSI.
pub const MSI_DATA: u64 = 0x48;
const HIGH_BASE: u64 = BASE + 4;
const HIGH_WINDOW: u64 = WINDOW + 4;
const HIGH_COUNT: u64 = COUNT + 4;
const HIGH_DONE: u64 = DONE + 4;
const HIGH_ABORTED: u64 = ABORTED + 4;
const HIGH_MISSED: u64 = MISSED + 4;
const HIGH_MSI: u64 = MSI + 4;

#[cfg(test)]
mod test {
    use super::super::test::{World, config, read, write, write32};
    use super::super::{Endpoint, EndpointConfig, Kind, Out};
    use super::*;

    const PAGE: u64 = 4096;

    fn stream(config_of: StreamConfig) -> Endpoint {
        Endpoint::new(EndpointConfig { kind: Kind::Stream(config_of), ..config() })
    }

    #[test]
    fn moves_its_chunks_at_its_rate_around_its_window() {
        let base = StreamConfig {
            run: true,
            write: true,
            base: PAGE,
            window: 200,
            chunk: 64,
            count: 5,
            ..StreamConfig::default()
        };
        let mut world = World::new();
        world.run(&mut stream(base), vec![(Time::ZERO, In::Start), (Time::us(50), read(DONE))]);
        let first = world.requests[0].0;
        let got: Vec<(Time, u64)> = world.requests.iter().map(|(at, r)| (*at - first, r.addr)).collect();
        let want: Vec<_> = [0_u64, 1, 2, 0, 1]
            .iter()
            .zip(0..)
            .map(|(chunk, i)| (base.period * i, PAGE + chunk * 64))
            .collect();
        assert_eq!(got, want);
        assert_eq!(world.values(), [5]);
        assert_eq!(world.memory.read_u64(World::pa(PAGE)), 3, "the number of the chunk that was there last");
    }

    #[test]
    fn is_driven_by_registers_and_tells_how_it_ended() {
        for (name, base, chunk, window, wanted, messages) in [
            ("plain", PAGE, 256, PAGE, [0, 10, 0, 0], 1),
            ("half of it refused", 99 * PAGE, PAGE, 2 * PAGE, [0, 5, 5, 0], 1),
            ("no chunk", PAGE, 0, PAGE, [0, 0, 0, 0], 0),
            ("chunk larger than the window", PAGE, 256, 128, [0, 0, 0, 0], 0),
            ("chunk too large", PAGE, u64::from(CHUNK_MAX) + 1, u64::MAX, [0, 0, 0, 0], 0),
        ] {
            let mut world = World::new();
            let mut heard: Vec<_> = [
                (BASE, base),
                (WINDOW, window),
                (PERIOD, (chunk << 32) | 500),
                (COUNT, 10),
                (MSI, 2 * PAGE),
                (MSI_DATA, 77),
            ]
            .iter()
            .map(|&(offset, value)| (Time::ZERO, write(offset, value)))
            .collect();
            heard.push((Time::ZERO, write32(CONTROL, RUN)));
            let after = [CONTROL, DONE, ABORTED, MISSED];
            heard.extend(after.iter().map(|&offset| (Time::ms(1), read(offset))));
            let mut endpoint = stream(StreamConfig::default());
            world.run(&mut endpoint, heard);
            assert_eq!(world.values(), wanted, "{name}");
            assert_eq!(endpoint.counters().messages, messages, "{name}");
            let message = world.memory.read_u32(World::pa(2 * PAGE));
            assert_eq!(message, if messages > 0 { 77 } else { 0 }, "{name}");
        }
    }

    #[test]
    fn misses_periods_when_it_cannot_keep_up_and_stops_when_told() {
        let base = StreamConfig {
            run: true,
            base: PAGE,
            window: PAGE,
            count: 1000,
            period: Time::ns(10),
            backlog: 4,
            ..StreamConfig::default()
        };
        let mut world = World::new();
        let mut endpoint = stream(base);
        let stop = (Time::us(5), write32(CONTROL, 0));
        world.run(&mut endpoint, vec![(Time::ZERO, In::Start), stop]);
        assert_eq!(world.outstanding_max, 4);
        assert!(endpoint.counters().missed > 0);
        assert!(world.requests.last().expect("it ran").0 < Time::us(6));
        assert!(world.said.iter().all(|(_, out)| matches!(out, Out::Respond(_))));
    }
}
