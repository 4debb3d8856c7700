//! Data: what is written is read back, wherever its pages are.

use proptest::prelude::*;

use super::super::io::Outcome;
use super::super::layout::Range as Extent;
use super::*;

/// Writes PRP entries for pages that are scattered over the buffer, lists included, and returns the command with the
/// addresses of the pieces. The list begins `list_offset` bytes into a page.
fn scatter(
    host: &mut Host,
    command: Submission,
    len: u64,
    offset: u64,
    list_offset: u64,
    shuffle: u64,
) -> (Submission, Vec<(u64, u64)>) {
    // An odd factor permutes the pages of the buffer.
    let page = |i: u64| BUFFER + (i.wrapping_mul(2 * shuffle + 1) % 4096) * PAGE;
    let mut pieces = vec![(page(0) + offset, len.min(PAGE - offset))];
    let mut left = len - pieces[0].1;
    while left > 0 {
        pieces.push((page(pieces.len() as u64), left.min(PAGE)));
        left -= left.min(PAGE);
    }
    let command = command.with_prp1(pieces[0].0);
    let second = match pieces[1..] {
        [] => 0xdead_beef,
        [(only, _)] => only,
        ref rest => {
            let lists = 24 << 20;
            let mut at = lists + list_offset;
            for (i, (iova, _)) in rest.iter().enumerate() {
                if at % PAGE == PAGE - 8 && i + 1 < rest.len() {
                    // Lists are not next to each other either.
                    let next = (at & !(PAGE - 1)) + 2 * PAGE;
                    host.memory.write_u64(at, next);
                    at = next;
                }
                host.memory.write_u64(at, *iova);
                at += 8;
            }
            lists + list_offset
        }
    };
    (command.with_prp2(second), pieces)
}

fn put(host: &mut Host, pieces: &[(u64, u64)], mut bytes: &[u8]) {
    for (iova, len) in pieces {
        let (now, later) = bytes.split_at(*len as usize);
        host.memory.write(*iova, now);
        bytes = later;
    }
}
fn get(host: &Host, pieces: &[(u64, u64)]) -> Vec<u8> {
    pieces.iter().flat_map(|(iova, len)| host.bytes(*iova, *len as usize)).collect()
}

#[derive(Clone, Debug)]
struct Step {
    opcode: Opcode,
    slba: u64,
    blocks: u64,
    offset: u64,
    list_offset: u64,
    shuffle: u64,
    seed: u8,
}

fn step(most: u64) -> impl Strategy<Value = Step> {
    let opcode = prop::sample::select(vec![
        Opcode::READ,
        Opcode::WRITE,
        Opcode::COMPARE,
        Opcode::WRITE_ZEROES,
        Opcode::DATASET_MANAGEMENT,
    ]);
    let blocks = prop_oneof![1..20_u64, 1..=most];
    let list_offset = prop_oneof![Just(0), Just(PAGE - 8), Just(PAGE - 16), (0..512_u64).prop_map(|i| 8 * i)];
    (opcode, 0..DISK / 512, blocks, 0..1024_u64, list_offset, 0..64_u64, any::<u8>()).prop_map(
        |(opcode, slba, blocks, dword, list_offset, shuffle, seed)| Step {
            opcode,
            slba,
            blocks: blocks.min(DISK / 512 - slba),
            offset: 4 * dword,
            list_offset,
            shuffle,
            seed,
        },
    )
}

fn pattern(len: u64, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ (i >> 9) as u8 ^ seed).collect()
}

/// The same steps on an array of bytes.
fn agrees_with_an_array(config: Config, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut driver = Driver::ready_with(config);
    let mut disk = vec![0_u8; DISK as usize];
    for step in steps {
        let Step { opcode, slba, blocks, offset, list_offset, shuffle, seed } = *step;
        let len = blocks * 512;
        let range = (slba * 512) as usize..(slba * 512 + len) as usize;
        let base = io(opcode, blocks).with_slba(slba);
        let (command, pieces) = scatter(&mut driver.host, base, len, offset, list_offset, shuffle);
        match opcode {
            Opcode::READ => {
                prop_assert_eq!(driver.run(1, command), Ok(0));
                prop_assert!(get(&driver.host, &pieces) == disk[range], "{:?}", step);
            }
            Opcode::WRITE => {
                let bytes = pattern(len, seed);
                put(&mut driver.host, &pieces, &bytes);
                prop_assert_eq!(driver.run(2, command), Ok(0));
                disk[range].copy_from_slice(&bytes);
            }
            Opcode::COMPARE => {
                let mut bytes = disk[range].to_vec();
                let differs = seed.is_multiple_of(2);
                if differs {
                    let at = usize::from(seed) * 37 % bytes.len();
                    bytes[at] ^= 1;
                }
                put(&mut driver.host, &pieces, &bytes);
                let want = if differs { Err(Status::COMPARE_FAILURE) } else { Ok(0) };
                prop_assert_eq!(driver.run(1, command), want);
            }
            Opcode::WRITE_ZEROES => {
                prop_assert_eq!(driver.run(1, command), Ok(0));
                disk[range].fill(0);
            }
            _ => {
                let half = blocks / 2;
                let ranges = [(slba, half), (slba + half, blocks - half)];
                for (i, (slba, blocks)) in ranges.into_iter().enumerate() {
                    let raw = Extent::default().with_slba(slba).with_nlb(blocks).to_bytes();
                    driver.host.memory.write(BUFFER + 16 * i as u64, &raw);
                }
                let ad = seed % 4 != 0;
                let command = super::command(opcode.0).with_nsid(1).with_nr(1).with_ad(ad).with_prp1(BUFFER);
                prop_assert_eq!(driver.run(1, command), Ok(0));
                if ad {
                    disk[range].fill(0);
                }
            }
        }
    }
    let mut held = vec![0; DISK as usize];
    driver.controller.storage_mut().read(0, &mut held).expect("memory does not fail");
    prop_assert!(held == disk);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn data_agrees_with_an_array(steps in prop::collection::vec(step(256), 1..20)) {
        agrees_with_an_array(Config::default(), &steps)?;
    }
    /// Lists of several pages, and data in several chunks.
    #[test]
    fn long_transfers_agree_with_an_array(steps in prop::collection::vec(step(6000), 1..8)) {
        agrees_with_an_array(Config { mdts: 0, ..Config::default() }, &steps)?;
    }
}

#[test]
fn pages_can_be_larger() {
    let page = PAGE << 4;
    for (offset, blocks) in [(0, 128), (0xfffc, 1), (0x1000, 200), (0x1000, 300), (0, 2048)] {
        let mut driver = Driver::new(Config { mdts: 0, ..Config::default() });
        driver.host.mps = 4;
        driver.enable();
        driver.create(1, 4, 4);
        let len = blocks * 512;
        let bytes = pattern(len, 0x5a);
        // Data in every second page, its list in the middle of a page.
        for (opcode, base, list) in
            [(Opcode::WRITE, BUFFER, 0x9_8000), (Opcode::READ, BUFFER + page, 0xa_8000)]
        {
            let first = len.min(page - offset);
            let mut pieces = vec![(base + offset, first)];
            let mut left = len - first;
            while left > 0 {
                let iova = base + 2 * page * pieces.len() as u64;
                driver.host.memory.write_u64(list + 8 * (pieces.len() as u64 - 1), iova);
                pieces.push((iova, left.min(page)));
                left -= left.min(page);
            }
            let second = if let [_, (only, _)] = pieces[..] { only } else { list };
            let command = io(opcode, blocks).with_prp1(base + offset).with_prp2(second);
            if opcode == Opcode::WRITE {
                put(&mut driver.host, &pieces, &bytes);
            }
            assert_eq!(driver.run(1, command), Ok(0), "{opcode} {offset:#x} {blocks}");
            assert!(get(&driver.host, &pieces) == bytes, "{opcode} {offset:#x} {blocks}");
        }
    }
}

#[test]
fn bad_commands_end_with_a_status() {
    let good = io(Opcode::READ, 1);
    let write = io(Opcode::WRITE, 1);
    let last = DISK / 512 - 1;
    let lost = MEMORY + PAGE;
    let list = good.with_nlb(23).with_prp2(BUFFER - PAGE); // three pages, a list of zeros
    for (name, command, want) in [
        ("read", good, Status::SUCCESS),
        ("flush", io(Opcode::FLUSH, 1), Status::SUCCESS),
        ("flush of all", io(Opcode::FLUSH, 1).with_nsid(u32::MAX.into()), Status::SUCCESS),
        ("read of all", good.with_nsid(u32::MAX.into()), Status::INVALID_NAMESPACE),
        ("opcode", good.with_opcode(0x7f), Status::INVALID_OPCODE),
        ("namespace 0", good.with_nsid(0), Status::INVALID_NAMESPACE),
        ("namespace 2", good.with_nsid(2), Status::INVALID_NAMESPACE),
        ("fused", good.with_fuse(1), Status::INVALID_FIELD),
        ("SGL", good.with_psdt(1), Status::INVALID_FIELD),
        ("last block", good.with_slba(last), Status::SUCCESS),
        ("beyond the end", good.with_slba(last).with_nlb(1), Status::LBA_OUT_OF_RANGE),
        ("far beyond", good.with_slba(u64::MAX), Status::LBA_OUT_OF_RANGE),
        ("zeroes beyond", io(Opcode::WRITE_ZEROES, 1).with_slba(last + 1), Status::LBA_OUT_OF_RANGE),
        ("too long", good.with_nlb(256), Status::INVALID_FIELD),
        ("zeroes have no such limit", io(Opcode::WRITE_ZEROES, 4096), Status::SUCCESS),
        ("PRP1 between words", good.with_prp1(BUFFER + 2), Status::PRP_OFFSET_INVALID),
        ("PRP2 within a page", good.with_nlb(15).with_prp2(BUFFER + 64), Status::PRP_OFFSET_INVALID),
        ("PRP2 not needed", good.with_prp2(1), Status::SUCCESS),
        ("list of zeros", list, Status::SUCCESS),
        ("list between quads", list.with_prp2(BUFFER + 4), Status::PRP_OFFSET_INVALID),
        ("list not there", list.with_prp2(lost), Status::DATA_TRANSFER_ERROR),
        ("entry within a page", list.with_prp2(BUFFER - 2 * PAGE), Status::PRP_OFFSET_INVALID),
        ("chain within a page", list.with_prp2(BUFFER - 2 * PAGE - 8), Status::PRP_OFFSET_INVALID),
        ("PRP1 not there", good.with_prp1(lost), Status::DATA_TRANSFER_ERROR),
        ("PRP2 not there", good.with_nlb(15).with_prp2(lost), Status::DATA_TRANSFER_ERROR),
        ("write from nowhere", write.with_prp1(lost), Status::DATA_TRANSFER_ERROR),
        ("compare with nowhere", io(Opcode::COMPARE, 1).with_prp1(lost), Status::DATA_TRANSFER_ERROR),
        (
            "ranges from nowhere",
            io(Opcode::DATASET_MANAGEMENT, 1).with_prp1(lost),
            Status::DATA_TRANSFER_ERROR,
        ),
        (
            "range beyond",
            io(Opcode::DATASET_MANAGEMENT, 1).with_slba(0).with_ad(true),
            Status::LBA_OUT_OF_RANGE,
        ),
    ] {
        let mut driver = Driver::ready();
        driver.host.memory.write_u64(BUFFER - 2 * PAGE, PAGE + 8);
        driver.host.memory.write_u64(BUFFER - 2 * PAGE - 8, PAGE + 8);
        let beyond = Extent::default().with_slba(last).with_nlb(2);
        driver.host.memory.write(BUFFER, &beyond.to_bytes());
        let got = driver.run(1, command).map_or_else(|status| status, |_| Status::SUCCESS);
        assert_eq!(got, want, "{name}");
        assert_eq!(driver.controller.counters().errors, u64::from(want != Status::SUCCESS), "{name}");
        assert_eq!(driver.run(1, good), Ok(0), "after {name}");
    }
}

/// Storage that fails on demand, and counts flushes.
#[derive(Debug, Default)]
struct Fragile {
    broken: bool,
    flushes: usize,
}

impl Storage for Fragile {
    fn size_bytes(&self) -> u64 {
        DISK
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), MediaError> {
        if self.broken { Err(MediaError) } else { Ok(()) }
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), MediaError> {
        if self.broken { Err(MediaError) } else { Ok(()) }
    }
    fn zero(&mut self, _: u64, _: u64) -> Result<(), MediaError> {
        if self.broken { Err(MediaError) } else { Ok(()) }
    }
    fn flush(&mut self) -> Result<(), MediaError> {
        self.flushes += 1;
        if self.broken { Err(MediaError) } else { Ok(()) }
    }
}

#[test]
fn the_medium_fails_and_is_flushed() {
    for (opcode, cache, fua, flushes, broken) in [
        (Opcode::READ, true, false, 0, Status::UNRECOVERED_READ_ERROR),
        (Opcode::WRITE, true, false, 0, Status::WRITE_FAULT),
        (Opcode::WRITE, true, true, 1, Status::WRITE_FAULT),
        (Opcode::WRITE, false, false, 1, Status::WRITE_FAULT),
        (Opcode::WRITE_ZEROES, true, true, 1, Status::WRITE_FAULT),
        (Opcode::WRITE_ZEROES, false, false, 1, Status::WRITE_FAULT),
        (Opcode::FLUSH, true, false, 1, Status::WRITE_FAULT),
        (Opcode::COMPARE, true, false, 0, Status::UNRECOVERED_READ_ERROR),
    ] {
        let mut controller = Controller::new(Config::default(), Fragile::default());
        let mut host = Host::default();
        let set = command(AdminOpcode::SET_FEATURES.0).with_fid(6).with_cdw11(cache.into());
        assert_eq!(controller.admin(&set, &mut host), Ok(Outcome::Done(0)));
        let command = io(opcode, 1).with_fua(fua);
        assert_eq!(controller.io(&command, &mut host), Ok(Outcome::Done(0)), "{opcode}");
        assert_eq!(controller.storage().flushes, flushes, "{opcode} {cache} {fua}");
        controller.storage_mut().broken = true;
        assert_eq!(controller.io(&command, &mut host), Err(broken), "{opcode}");
        assert_eq!(controller.counters().media_errors, 1, "{opcode}");
    }
}
