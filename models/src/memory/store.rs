//! What memory holds: a sparse store of bytes over the whole physical address space. No time in here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::bus::{Data, LINE, Op, PhysAddr};

const PAGE: usize = 4096;

/// Sparse bytes. What was never written reads as zero and takes no room. Pages are only ever looked up by number, so
/// the order of the map is never seen.
#[derive(Clone, Debug, Default)]
pub struct PhysMem {
    pages: HashMap<u64, Box<[u8; PAGE]>, BuildHasherDefault<PageHasher>>,
}

/// What an [`Op`] did to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer: bytes read, the value found by an atomic, or nothing after a write.
    pub answer: Data,
    /// The bytes written, if any were. A compare-and-swap that found another value writes nothing.
    pub written: Option<Data>,
}

impl PhysMem {
    /// Memory full of zeros.
    pub fn new() -> Self {
        Self::default()
    }
    /// Number of bytes that take room on the host.
    pub fn resident_bytes(&self) -> usize {
        self.pages.len() * PAGE
    }
    /// Copies bytes out. The address wraps at 2^64.
    pub fn read(&self, addr: PhysAddr, bytes: &mut [u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, offset, n) = piece(addr.wrapping_add(done as u64), bytes.len() - done);
            let target = &mut bytes[done..done + n];
            match self.pages.get(&page) {
                Some(held) => target.copy_from_slice(&held[offset..offset + n]),
                None => target.fill(0),
            }
            done += n;
        }
    }
    /// Copies bytes in. The address wraps at 2^64.
    pub fn write(&mut self, addr: PhysAddr, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, offset, n) = piece(addr.wrapping_add(done as u64), bytes.len() - done);
            let held = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            held[offset..offset + n].copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
    }
    /// Makes bytes zero, up to the end of the address space at most. Pages of zeros take no room any more.
    pub fn zero(&mut self, addr: PhysAddr, len: u64) {
        let Some(last) = len.checked_sub(1).map(|n| addr.saturating_add(n)) else { return };
        let size = PAGE as u64;
        let (first_page, last_page) = (addr / size, last / size);
        let part = |page| {
            let from = if page == first_page { addr % size } else { 0 };
            let to = if page == last_page { last % size + 1 } else { size };
            from as usize..to as usize
        };
        if last_page - first_page > self.pages.len() as u64 {
            self.pages.retain(|&page, held| {
                let inside = (first_page..=last_page).contains(&page);
                let part = if inside { part(page) } else { 0..0 };
                held[part.clone()].fill(0);
                part.len() < PAGE
            });
            return;
        }
        for page in first_page..=last_page {
            let part = part(page);
            if part.len() == PAGE {
                self.pages.remove(&page);
            } else if let Some(held) = self.pages.get_mut(&page) {
                held[part].fill(0);
            }
        }
    }
    /// A little-endian 32-bit word.
    pub fn read_u32(&self, addr: PhysAddr) -> u32 {
        let mut word = [0; 4];
        self.read(addr, &mut word);
        u32::from_le_bytes(word)
    }
    /// A little-endian 64-bit word.
    pub fn read_u64(&self, addr: PhysAddr) -> u64 {
        let mut word = [0; 8];
        self.read(addr, &mut word);
        u64::from_le_bytes(word)
    }
    /// Writes a little-endian 64-bit word.
    pub fn write_u64(&mut self, addr: PhysAddr, value: u64) {
        self.write(addr, &value.to_le_bytes());
    }
    /// Reads up to a line.
    pub fn read_data(&self, addr: PhysAddr, len: usize) -> Data {
        let mut bytes = [0; LINE];
        self.read(addr, &mut bytes[..len]);
        Data::new(&bytes[..len])
    }
    /// Writes `new` if `expected` is found; returns the 64-bit value found.
    pub fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> u64 {
        let old = self.read_u64(addr);
        if old == expected {
            self.write_u64(addr, new);
        }
        old
    }
    /// Adds, wrapping; returns the 64-bit value found.
    pub fn fetch_add(&mut self, addr: PhysAddr, add: u64) -> u64 {
        let old = self.read_u64(addr);
        self.write_u64(addr, old.wrapping_add(add));
        old
    }
    /// Writes `new`; returns the 64-bit value found.
    pub fn swap(&mut self, addr: PhysAddr, new: u64) -> u64 {
        let old = self.read_u64(addr);
        self.write_u64(addr, new);
        old
    }
    /// Performs a bus operation.
    pub fn apply(&mut self, addr: PhysAddr, op: &Op) -> Applied {
        let (old, new) = match *op {
            Op::Read { len } => {
                return Applied { answer: self.read_data(addr, usize::from(len)), written: None };
            }
            Op::Write(data) => {
                self.write(addr, data.bytes());
                return Applied { answer: Data::EMPTY, written: Some(data) };
            }
            Op::CompareSwap { expected, new } => {
                let old = self.compare_swap(addr, expected, new);
                (old, (old == expected).then_some(new))
            }
            Op::FetchAdd(add) => {
                let old = self.fetch_add(addr, add);
                (old, Some(old.wrapping_add(add)))
            }
            Op::Swap(new) => (self.swap(addr, new), Some(new)),
        };
        Applied { answer: Data::u64(old), written: new.map(Data::u64) }
    }
}

/// Page number, offset in the page, and how many of `left` bytes lie in that page.
fn piece(addr: PhysAddr, left: usize) -> (u64, usize, usize) {
    let offset = (addr % PAGE as u64) as usize;
    (addr / PAGE as u64, offset, left.min(PAGE - offset))
}

/// Spreads a page number over the bits that the map looks at (Fibonacci hashing).
#[derive(Clone, Copy, Debug, Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u64(&mut self, page: u64) {
        self.0 = (self.0 ^ page).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn untouched_memory_reads_as_zero_and_takes_no_room() {
        let mut memory = PhysMem::new();
        for addr in [0, 0xfff, 1 << 40, u64::MAX - 7] {
            assert_eq!(memory.read_u64(addr), 0);
        }
        assert_eq!(memory.resident_bytes(), 0);
        memory.write_u64(0xffc, u64::MAX);
        assert_eq!(memory.resident_bytes(), 2 * PAGE);
    }

    #[test]
    fn operations_answer_the_old_value_and_tell_what_they_wrote() {
        let word = Data::u64;
        for (op, answer, written, after) in [
            (Op::Read { len: 8 }, word(5), None, 5),
            (Op::Write(word(6)), Data::EMPTY, Some(word(6)), 6),
            (Op::CompareSwap { expected: 5, new: 9 }, word(5), Some(word(9)), 9),
            (Op::CompareSwap { expected: 4, new: 9 }, word(5), None, 5),
            (Op::FetchAdd(u64::MAX), word(5), Some(word(4)), 4),
            (Op::Swap(8), word(5), Some(word(8)), 8),
        ] {
            let mut memory = PhysMem::new();
            memory.write_u64(0x40, 5);
            assert_eq!(memory.apply(0x40, &op), Applied { answer, written }, "{op:?}");
            assert_eq!(memory.read_u64(0x40), after, "{op:?}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Read(u64, usize),
        Zero(u64, u64),
        Apply(u64, Op),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Three neighbouring pages and the top of the address space.
        let addr = prop_oneof![0x1000_u64..0x4000, (u64::MAX - 0x20)..=u64::MAX];
        let word = (0x1000_u64..0x1100).prop_map(|a| a & !7);
        let small = 0_u64..3;
        prop_oneof![
            (addr.clone(), prop::collection::vec(any::<u8>(), 0..5000)).prop_map(|(a, b)| Step::Write(a, b)),
            (addr.clone(), 0_usize..5000).prop_map(|(a, n)| Step::Read(a, n)),
            (addr, prop_oneof![0_u64..20_000, Just(1 << 30), Just(u64::MAX)])
                .prop_map(|(a, n)| Step::Zero(a, n)),
            (word.clone(), small.clone(), small.clone())
                .prop_map(|(a, expected, new)| Step::Apply(a, Op::CompareSwap { expected, new })),
            (word.clone(), small.clone()).prop_map(|(a, n)| Step::Apply(a, Op::FetchAdd(n))),
            (word, small).prop_map(|(a, n)| Step::Apply(a, Op::Swap(n))),
        ]
    }

    proptest! {
        #[test]
        fn equals_a_plain_map_of_bytes(steps in prop::collection::vec(step(), 1..60)) {
            let mut memory = PhysMem::new();
            let mut plain = BTreeMap::<u64, u8>::new();
            let get = |plain: &BTreeMap<u64, u8>, a: u64| plain.get(&a).copied().unwrap_or(0);
            let word = |plain: &BTreeMap<u64, u8>, a: u64| {
                u64::from_le_bytes(std::array::from_fn(|i| get(plain, a + i as u64)))
            };
            for step in steps {
                match step {
                    Step::Write(addr, bytes) => {
                        memory.write(addr, &bytes);
                        for (i, b) in bytes.iter().enumerate() {
                            plain.insert(addr.wrapping_add(i as u64), *b);
                        }
                    }
                    Step::Read(addr, len) => {
                        let mut bytes = vec![0xee; len];
                        memory.read(addr, &mut bytes);
                        let want: Vec<u8> = (0..len).map(|i| get(&plain, addr.wrapping_add(i as u64))).collect();
                        prop_assert_eq!(bytes, want);
                    }
                    Step::Zero(addr, len) => {
                        memory.zero(addr, len);
                        plain.retain(|a, _| *a < addr || *a - addr >= len);
                    }
                    Step::Apply(addr, op) => {
                        let old = word(&plain, addr);
                        let new = match op {
                            Op::CompareSwap { expected, new } => if old == expected { new } else { old },
                            Op::FetchAdd(n) => old.wrapping_add(n),
                            Op::Swap(n) => n,
                            Op::Read { .. } | Op::Write(_) => unreachable!("not generated"),
                        };
                        for (i, b) in new.to_le_bytes().into_iter().enumerate() {
                            plain.insert(addr + i as u64, b);
                        }
                        prop_assert_eq!(memory.apply(addr, &op).answer.value(), old);
                        prop_assert_eq!(memory.read_u64(addr), new);
                    }
                }
            }
        }
    }
}
