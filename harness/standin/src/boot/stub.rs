//! The boot stub: CPU 0 runs it after every reset. It gives root ports their buses and carriers their addresses,
//! which a reset takes away, then jumps to QEMU's boot code.
use super::layout::{Bdf, CARRIER_SIZE, HIDDEN_BUS, Layout};
use super::virt;

/// AArch64: `adr x0, table; next: ldp x1, x2, [x0], #16; cbz x1, done; str w2, [x1]; b next; done: dsb sy; br x2; (padding)`.
const CODE: [u32; 8] =
    [0x1000_0100, 0xa8c1_0801, 0xb400_0061, 0xb900_0022, 0x17ff_fffd, 0xd503_3f9f, 0xd61f_0040, 0];

// Type 0 and 1 headers (PCI Local Bus 6.1, PCI-to-PCI Bridge 3.2).
const COMMAND: u16 = 0x04;
const BAR0: u16 = 0x10;
const BUS_NUMBERS: u16 = 0x18;
const MEMORY_WINDOW: u16 = 0x20;
/// Memory space and bus master.
const COMMAND_ON: u32 = 0b110;

/// A 32-bit store to configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// CPU address.
    pub address: u64,
    /// The word.
    pub value: u32,
}

/// What the stub stores, in order.
pub fn stores(layout: &Layout) -> Vec<Store> {
    let store = |function: Bdf, register, value| Store { address: function.configuration(register), value };
    layout
        .smmus
        .iter()
        .flat_map(|place| {
            let (port, carrier) = (place.root_port, place.carrier);
            let bus = u32::from(carrier.bus);
            let (base, limit) =
                (place.bar as u32 >> 16, (place.bar + CARRIER_SIZE - 1) as u32 >> 16 & 0xfff0);
            [
                store(port, BUS_NUMBERS, bus << 16 | bus << 8 | u32::from(HIDDEN_BUS)),
                store(port, MEMORY_WINDOW, limit << 16 | base),
                store(port, COMMAND, COMMAND_ON),
                store(carrier, BAR0, place.bar as u32),
                store(carrier, COMMAND, COMMAND_ON),
            ]
        })
        .collect()
}

/// The stub's bytes, to be loaded at [`Layout::stub`].
pub fn stub(layout: &Layout) -> Vec<u8> {
    let mut bytes: Vec<u8> = CODE.iter().flat_map(|word| word.to_le_bytes()).collect();
    let rows = stores(layout).into_iter().map(|Store { address, value }| (address, u64::from(value)));
    for (address, value) in rows.chain([(0, virt::RAM)]) {
        bytes.extend(address.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::platform;
    use super::*;

    /// Runs the instructions of the stub that the architecture (DDI 0487, C6.2) defines this way; returns stores and
    /// where it jumps to.
    fn interpret(bytes: &[u8]) -> (Vec<Store>, u64) {
        let word = |at: u64| u32::from_le_bytes(bytes[at as usize..][..4].try_into().unwrap());
        let double = |at: u64| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let signed = |value: u32, bits: u32| (i64::from(value) << (64 - bits)) >> (64 - bits);
        let (mut pc, mut x, mut stores) = (0u64, [0u64; 32], Vec::new());
        for _ in 0..10_000 {
            let op = word(pc);
            let (d, n, t2) = ((op & 31) as usize, (op >> 5 & 31) as usize, (op >> 10 & 31) as usize);
            let mut next = pc + 4;
            if op & 0x9f00_0000 == 0x1000_0000 {
                x[d] = pc.wrapping_add_signed(signed(op >> 5 & 0x7_ffff, 19) << 2 | i64::from(op >> 29 & 3));
            } else if op & 0xffc0_0000 == 0xa8c0_0000 {
                (x[d], x[t2]) = (double(x[n]), double(x[n] + 8));
                x[n] = x[n].wrapping_add_signed(signed(op >> 15 & 0x7f, 7) * 8);
            } else if op & 0xff00_0000 == 0xb400_0000 {
                if x[d] == 0 {
                    next = pc.wrapping_add_signed(signed(op >> 5 & 0x7_ffff, 19) * 4);
                }
            } else if op & 0xffc0_0000 == 0xb900_0000 {
                stores.push(Store { address: x[n] + u64::from(op >> 10 & 0xfff) * 4, value: x[d] as u32 });
            } else if op & 0xfc00_0000 == 0x1400_0000 {
                next = pc.wrapping_add_signed(signed(op & 0x3ff_ffff, 26) * 4);
            } else if op & 0xffff_fc1f == 0xd61f_0000 {
                return (stores, x[n]);
            } else {
                assert_eq!(op, 0xd503_3f9f, "at {pc:#x}: neither DSB SY nor anything else that is known");
            }
            pc = next;
        }
        panic!("the stub does not end");
    }

    #[test]
    fn the_code_stores_the_table_and_jumps_to_the_boot_code() {
        for n in 1..=5 {
            let layout = Layout::new(&platform(n)).unwrap();
            assert_eq!(interpret(&stub(&layout)), (stores(&layout), 0x4000_0000));
        }
    }

    #[test]
    fn two_carriers() {
        let layout = Layout::new(&platform(2)).unwrap();
        let rows: Vec<_> = stores(&layout).iter().map(|s| (s.address, s.value)).collect();
        assert_eq!(
            rows,
            [
                (0x40_1400_0018, 0x0041_4140),
                (0x40_1400_0020, 0x30f0_3000),
                (0x40_1400_0004, 6),
                (0x40_1410_0010, 0x3000_0000),
                (0x40_1410_0004, 6),
                (0x40_1400_8018, 0x0042_4240),
                (0x40_1400_8020, 0x31f0_3100),
                (0x40_1400_8004, 6),
                (0x40_1420_0010, 0x3100_0000),
                (0x40_1420_0004, 6),
            ]
        );
    }
}
