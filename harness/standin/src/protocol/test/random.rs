//! Streams that nobody would send, in pieces that nobody would choose.

use proptest::prelude::*;

use super::client::{message, version};
use crate::protocol::fuzz;
use crate::protocol::wire::{Command, DmaMap, DmaUnmap, IrqSet, RegionAccess};

/// Numbers at the borders of what exists.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0..16_u64,
        (0..0x20_u64).prop_map(|page| page << 12),
        (0..0x1_1000_u64),
        prop::sample::select(vec![
            0xff,
            0xffc,
            0xfff,
            0x1000,
            0xffff,
            0x1_0000,
            u64::MAX,
            u64::MAX - 0xfff,
            1 << 63
        ]),
        any::<u64>(),
    ]
}

/// A payload of the right layout, more often than not.
fn command() -> impl Strategy<Value = (Command, Vec<u8>)> {
    let n = number;
    prop_oneof![
        (n(), 0..9_u32, n()).prop_map(|(offset, region, count)| {
            let access = RegionAccess { offset, region, count: count as u32 };
            (Command::REGION_READ, access.encode().to_vec())
        }),
        (n(), 0..9_u32, prop::collection::vec(any::<u8>(), 0..70)).prop_map(|(offset, region, data)| {
            let access = RegionAccess { offset, region, count: data.len() as u32 };
            (Command::REGION_WRITE, [&access.encode()[..], &data].concat())
        }),
        (n(), n(), n(), 0..5_u32).prop_map(|(address, size, offset, flags)| {
            (Command::DMA_MAP, DmaMap { argsz: 32, flags, offset, address, size }.encode().to_vec())
        }),
        (n(), n(), 0..3_u32).prop_map(|(address, size, flags)| {
            (Command::DMA_UNMAP, DmaUnmap { argsz: 24, flags, address, size }.encode().to_vec())
        }),
        (0..64_u32, 0..6_u32, n(), n()).prop_map(|(flags, index, start, count)| {
            let set = IrqSet { argsz: 20, flags, index, start: start as u32, count: count as u32 };
            (Command::DEVICE_SET_IRQS, [&set.encode()[..], &[1; 8]].concat())
        }),
        (0..20_u16, prop::collection::vec(n(), 0..6)).prop_map(|(command, words)| {
            (Command(command), words.iter().flat_map(|word| word.to_le_bytes()).collect())
        }),
        Just((Command::DEVICE_RESET, Vec::new())),
        Just((Command::DMA_WRITE, Vec::new())),
    ]
}

/// A message; rarely a reply, rarely of a size that is wrong.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![0..4_u16, any::<u16>()];
    let error = prop_oneof![3 => Just(0_u32), 1 => any::<u32>()];
    let flags = prop_oneof![6 => Just(0_u32), 3 => Just(0x10), 1 => Just(0x21), 1 => any::<u32>()];
    let size = prop_oneof![30 => Just(None), 1 => number().prop_map(|size| Some(size as u32))];
    (id, command(), flags, size, error).prop_map(|(id, (command, payload), flags, size, error)| {
        let mut bytes = message(id, command, flags, &payload);
        bytes[12..16].copy_from_slice(&error.to_le_bytes());
        if let Some(size) = size {
            bytes[4..8].copy_from_slice(&size.to_le_bytes());
        }
        bytes
    })
}

/// The script of [`fuzz`] for a stream that is cut as `controls` say.
fn script(first: u8, mut stream: &[u8], controls: &[u8]) -> Vec<u8> {
    let mut script = vec![first];
    for control in controls.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let control = control | 1;
        let length = usize::from(control & 0x1f) * if control & 0x80 != 0 { 16 } else { 1 };
        let (chunk, rest) = stream.split_at(length.min(stream.len()));
        script.push(control);
        script.extend_from_slice(chunk);
        stream = rest;
    }
    script
}

/// What fuzzers begin with.
#[test]
fn committed_inputs() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/connection");
    let files: Vec<_> = std::fs::read_dir(corpus).expect("there are inputs").collect();
    assert!(!files.is_empty());
    for file in files {
        fuzz(&std::fs::read(file.expect("a file").path()).expect("it can be read"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz(&data);
    }

    #[test]
    fn any_messages_in_any_pieces(
        messages in prop::collection::vec(anything(), 1..60),
        controls in prop::collection::vec(any::<u8>(), 1..20),
        greeted in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in any::<prop::sample::Index>(),
    ) {
        let greeting = if greeted { version() } else { Vec::new() };
        let mut stream = [greeting, messages.concat()].concat();
        for (place, value) in flips {
            let place = place.index(stream.len());
            stream[place] = value;
        }
        stream.truncate(end.index(stream.len()) + stream.len() / 2);
        fuzz(&script(!u8::from(greeted), &stream, &controls));
    }
}
